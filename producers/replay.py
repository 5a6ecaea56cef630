"""Putting dead letters back on their topic, unchanged: the same bytes, headers and key."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import PermanentError, TransientError
from producers.publishing import Patience, publish_all
from producers.sinks import Publisher
from schemas.record import Record
from schemas.topics import BY_NAME, GROUPS, dead_letter_topic

BATCH_LETTERS = 200
#: Kafka's client could not unpack the record: its place was set aside, not its bytes.
UNREADABLE = "unreadable_record"


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters; None: whatever group or reason.

    Attributes:
        topic: the topic that they were on.
        limit: at most so many.
    """

    topic: str
    group: str | None = None
    reason: str | None = None
    limit: int | None = None


class DeadLetter(Protocol):
    """A record that was set aside: `core.storage.stream.replays.OpenLetter`."""

    @property
    def id(self) -> int:
        """Its row."""
        ...

    @property
    def reason(self) -> str:
        """Why it was set aside."""
        ...

    @property
    def record(self) -> Record:
        """Bytes, headers and key as they were."""
        ...


class DeadLetters(Protocol):
    """The table of dead letters."""

    async def newest(self, wanted: LetterFilter) -> int:
        """Return the id of the newest letter; 0 where there is none.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        ...

    async def open(
        self, wanted: LetterFilter, *, after: int, until: int, limit: int
    ) -> Sequence[DeadLetter]:
        """Return letters that were not replayed, by id from behind `after` up to `until`.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        ...

    async def counts(self, wanted: LetterFilter) -> dict[str, int]:
        """Return how many letters `open` would give, by reason, without its limit."""
        ...

    async def mark_replayed(self, ids: Sequence[int]) -> None:
        """Note that Kafka has these again.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        ...


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

    Stopped in between and run again it goes on with the rest; at most one batch goes out twice,
    which identity makes harmless.
    """

    letters: DeadLetters
    publisher: Publisher
    patience: Patience
    batch_letters: int = BATCH_LETTERS

    async def run(self, wanted: LetterFilter) -> Replayed:
        """Replay what `wanted` selects and is there now.

        What fails again becomes a new letter, which is left: else a record that fails at once would
        go round for ever.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        done, after, left = Replayed(), 0, wanted.limit
        until = await self.letters.newest(wanted)
        while left is None or left > 0:
            size = self.batch_letters if left is None else min(left, self.batch_letters)
            batch = await self.letters.open(wanted, after=after, until=until, limit=size)
            if not batch:
                break
            after = batch[-1].id
            left = None if left is None else left - len(batch)
            if await self._put_back(batch, done):
                break
        return done

    async def _put_back(self, batch: Sequence[DeadLetter], done: Replayed) -> bool:
        """Publish and mark one batch; True where the broker stayed away."""
        sent = await publish_all(self.publisher, [letter.record for letter in batch], self.patience)
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
        await self.letters.mark_replayed(acknowledged)
        return is_away


class ChoiceRefused(ValueError):
    """Letters that cannot be chosen so.

    Attributes:
        name: what is wrong: `topic`, `group` or `reason`.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


def choose(
    topic: str, *, group: str | None = None, reason: str | None = None, limit: int | None = None
) -> LetterFilter:
    """Return the filter that people mean by these words.

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
    return LetterFilter(name, group or of_topic, reason, limit)


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
