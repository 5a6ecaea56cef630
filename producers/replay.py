"""Publish dead letters again, with the same bytes, headers and key.

Each goes back on its topic, but an arrival of an image in bulk: however many there are, nobody
waits behind them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.errors import PermanentError, TransientError
from core.messaging.cloudevents import made_at
from core.messaging.ports import RecordPublisher
from core.storage.stream import replays
from core.storage.stream.replays import LetterFilter, OpenLetter
from core.transaction import Transaction
from producers.publishing import Patience, publish_all
from schemas.record import Record
from schemas.topics import BY_NAME, GROUPS, IMAGES_BULK, Lane, dead_letter_topic

BATCH_LETTERS = 200
#: Kafka's client could not unpack the record, so only its place is stored, not its bytes.
UNREADABLE = "unreadable_record"
_ARRIVALS = frozenset(lane.topic.name for lane in Lane)


@dataclass(slots=True)
class Replayed:
    """What a replay has done.

    Attributes:
        refused: reason -> letters that Kafka refused or that it could not be given.
    """

    by_reason: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Replay:
    """Puts dead letters back, batch by batch; one is marked only after its acknowledgement.

    If stopped, another run does the rest; at most one batch is published twice, which is harmless
    because the ids are the same.
    """

    connection: Transaction
    publisher: RecordPublisher
    patience: Patience
    batch_letters: int = BATCH_LETTERS

    async def run(self, wanted: LetterFilter, limit: int | None = None) -> Replayed:
        """Replay the letters that match and are there now, at most `limit` of them.

        A record that fails again becomes a new letter, which this run ignores: otherwise a record
        that fails at once would be replayed for ever.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        done, after, left = Replayed(), 0, limit
        until = await replays.newest(self.connection, wanted)
        while left is None or left > 0:
            size = self.batch_letters if left is None else min(left, self.batch_letters)
            batch = await replays.open_letters(
                self.connection, wanted, after=after, until=until, limit=size
            )
            if not batch:
                break
            after = batch[-1].id
            left = None if left is None else left - len(batch)
            if await self._put_back(batch, done):
                break
        return done

    async def _put_back(self, batch: Sequence[OpenLetter], done: Replayed) -> bool:
        """Publish and mark one batch; return True where the broker stayed away."""
        sent = await publish_all(
            self.publisher, [_again(letter) for letter in batch], self.patience
        )
        acknowledged = []
        is_away = False
        for letter, outcome in zip(batch, sent, strict=True):
            if isinstance(outcome, PermanentError):
                done.refused[outcome.reason] += 1
            elif isinstance(outcome, TransientError):
                done.refused["broker_away"] += 1
                is_away = True
            else:
                acknowledged.append(letter.id)
                done.by_reason[letter.reason] += 1
        await replays.mark_replayed(self.connection, acknowledged)
        return is_away


def _again(letter: OpenLetter) -> Record:
    """Return the record that goes back: an arrival in bulk, and no younger than it was."""
    record = letter.record
    if record.topic not in _ARRIVALS:
        return record
    headers = record.headers
    if letter.record_at is not None and made_at(record) is None:
        headers = (*headers, ("ce_time", letter.record_at.isoformat().encode()))
    return replace(record, topic=IMAGES_BULK.name, headers=headers)


class ChoiceRefused(ValueError):
    """No letters can be chosen by these words.

    Attributes:
        name: what is wrong: `topic`, `group` or `reason`.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


def choose(topic: str, *, group: str | None = None, reason: str | None = None) -> LetterFilter:
    """Return the filter for what people write.

    Args:
        topic: a topic, or one of its dead-letter topics.

    Raises:
        ChoiceRefused: no such topic, two groups at once, or letters that cannot go back.
    """
    if reason == UNREADABLE:
        raise ChoiceRefused("reason", f"{UNREADABLE}: their bytes were never read; send them anew")
    try:
        name, of_topic = source_topic(topic)
    except ValueError as error:
        raise ChoiceRefused("topic", str(error)) from error
    if group and of_topic and group != of_topic:
        raise ChoiceRefused("group", f"{group!r}, but {topic} holds what {of_topic} set aside")
    return LetterFilter(name, group or of_topic, reason)


def source_topic(name: str) -> tuple[str, str | None]:
    """Return (topic, group) for a topic's name or the name of one of its dead-letter topics.

    Raises:
        ValueError: no such topic; the message names those that there are.
    """
    if name in BY_NAME:
        return name, None
    for group, topic in GROUPS.items():
        if name == dead_letter_topic(topic.name, group):
            return topic.name, group
    raise ValueError(f"{name!r} is none of {', '.join(sorted(BY_NAME))}")
