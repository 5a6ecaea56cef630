"""What one look at the pipeline sees, and what is waiting in each stage. Pure but for `look_at`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.storage.stream import backlog, heartbeats
from core.storage.stream.backlog import LettersOfReason, Pile, TargetPile
from core.storage.stream.heartbeats import Heartbeat
from core.transaction import Database
from ingress.live.logs import LogHistory
from ingress.models.page.pipeline import StageName
from schemas.record import Partition
from schemas.topics import GROUPS

#: Three beats and a second: who was not heard of for longer is silent.
SILENT_S = 16.0
#: One beat and two seconds: who was not heard of for longer may not be called moving.
FRESH_S = 7.0

Bounds = Mapping[Partition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class StageShape:
    """Which consumer group and which parts of processes a stage is made of."""

    name: StageName
    group: str | None
    roles: tuple[str, ...]


STAGES = (
    StageShape("tagging", "tagging", ("tagging",)),
    StageShape("tagging_bulk", "tagging-bulk", ("tagging_bulk",)),
    StageShape("queries", "query", ("query",)),
    StageShape("deliveries", "delivery", ("delivery", "delivery_lanes")),
    StageShape("outbox", None, ("ingress", "tagging", "tagging_bulk", "query", "delivery")),
    StageShape("parked_images", None, ("tagging_slow",)),
    StageShape("label_work", None, ("tagging", "tagging_bulk")),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look saw.

    Attributes:
        at: PostgreSQL's time.
        moment: ours, monotonic.
        bounds: of the logs; None while Kafka does not answer.
        piles: as `backlog.piles`.
        due: webhooks that are due, by target and sender.
    """

    at: datetime
    moment: float
    beats: Sequence[Heartbeat]
    progress: Mapping[str, Mapping[Partition, int]]
    bounds: Bounds | None
    piles: Mapping[str, Pile]
    due: Sequence[TargetPile]
    letters: Sequence[LettersOfReason]
    trends: Mapping[str, Sequence[float | None]]

    def age_s(self, moment: datetime | None) -> float | None:
        """Return how long ago something was, never less than nothing."""
        return None if moment is None else max(0.0, (self.at - moment).total_seconds())

    def is_heard(self, beat: Heartbeat, within_s: float = SILENT_S) -> bool:
        """Tell whether a part runs, and was heard of lately."""
        return beat.stopped_at is None and (self.at - beat.seen_at).total_seconds() <= within_s

    def parts(self, roles: Sequence[str]) -> list[Heartbeat]:
        """Return the parts of these roles, also those that stopped or fell silent."""
        return [beat for beat in self.beats if beat.role in roles]

    def living(self, roles: Sequence[str]) -> list[Heartbeat]:
        """Return those of these roles that run and are heard of."""
        return [beat for beat in self.parts(roles) if self.is_heard(beat)]


@dataclass(frozen=True, slots=True)
class StageStanding:
    """What waits in one stage.

    Attributes:
        waiting: None: unknown.
        oldest_s: None: nothing waits, or it is unknown.
        arrived, done: how many ever came and went, for rates; None where nobody counts.
        unread: of what waits, what still lies in the topic; None: unknown, or there is no topic.
    """

    waiting: int | None
    oldest_s: float | None
    arrived: float | None = None
    done: float | None = None
    unread: int | None = None


async def look_at(database: Database, moment: float, bounds: Bounds | None) -> Facts:
    """Return what is in the database now, with the bounds of the logs as they are known.

    Raises:
        TransientError: the database is away.
    """
    async with database.connection() as connection:
        return Facts(
            at=await backlog.clock(connection),
            moment=moment,
            beats=await heartbeats.all_of_them(connection),
            progress=await backlog.progress(connection),
            bounds=bounds,
            piles=await backlog.piles(connection),
            due=await backlog.targets(connection),
            letters=await backlog.letters(connection),
            trends=await backlog.trends(connection),
        )


def standings(facts: Facts, history: LogHistory) -> dict[str, StageStanding]:
    """Return what waits in each stage."""
    logs: dict[str, StageStanding] = {
        shape.name: _in_log(facts, history, shape) for shape in STAGES if shape.group is not None
    }
    due = Pile(
        sum(one.waiting for one in facts.due),
        min((one.oldest for one in facts.due), default=None),
    )
    return {
        **logs,
        "deliveries": _joined(logs["deliveries"], due, facts),
        **{
            name: StageStanding(
                pile.waiting,
                facts.age_s(pile.oldest) if pile.waiting else None,
                pile.arrived,
                pile.done,
            )
            for name, pile in facts.piles.items()
            if name != "parked_queries"
        },
    }


def _in_log(facts: Facts, history: LogHistory, shape: StageShape) -> StageStanding:
    """Return what of a group's topic nobody has read to the end."""
    living = facts.living(shape.roles)
    if facts.bounds is None:
        told = [beat.waiting for beat in living if beat.waiting is not None]
        waiting = sum(told) if told else None
        oldest = _told_oldest(facts, shape) if waiting else None
        return StageStanding(waiting, oldest, unread=waiting)
    lags = _lags(facts, shape)
    waiting = sum(end - offset for offset, end in lags.values())
    if not waiting:
        oldest = None
    else:
        seen = [
            since
            for partition, (offset, end) in lags.items()
            if end > offset and (since := history.there_since(partition, offset)) is not None
        ]
        outside = max(0.0, facts.moment - min(seen)) if seen else None
        inside = _told_oldest(facts, shape)
        known = [age for age in (outside, inside) if age is not None]
        oldest = max(known) if known else None
    return StageStanding(
        waiting,
        oldest,
        arrived=sum(end for _, end in lags.values()),
        done=sum(offset for offset, _ in lags.values()),
        unread=waiting,
    )


def _lags(facts: Facts, shape: StageShape) -> dict[Partition, tuple[int, int]]:
    """Return (where the group stands, the log's end) by partition, within the log's bounds."""
    topic = GROUPS[shape.group or ""].name
    progress = facts.progress.get(shape.group or "", {})
    return {
        partition: (min(max(progress.get(partition, start), start), end), end)
        for partition, (start, end) in (facts.bounds or {}).items()
        if partition.topic == topic
    }


def _told_oldest(facts: Facts, shape: StageShape) -> float | None:
    """Return the longest wait that the processes told of, by their own clocks' records.

    Of those that run it is what they last said: what waited then may be done by now. Of others it
    goes on.
    """
    living = facts.living(shape.roles)
    ages = [
        max(0.0, ((beat.seen_at if living else facts.at) - beat.oldest_waiting).total_seconds())
        for beat in living or facts.parts(shape.roles)
        if beat.oldest_waiting is not None
    ]
    return max(ages, default=None)


def _joined(log: StageStanding, due: Pile, facts: Facts) -> StageStanding:
    """Return the webhooks that are due, with the answers that lie in the log before them."""
    ages = [age for age in (log.oldest_s, facts.age_s(due.oldest)) if age is not None]
    waiting = (log.waiting or 0) + due.waiting
    return StageStanding(waiting, max(ages, default=None), unread=log.unread)
