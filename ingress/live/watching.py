"""Looks at the pipeline: one a second at most, whoever asks, and one every five seconds anyway."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from core.errors import BrokerAway
from core.repeating import every
from core.storage.stream import backlog
from core.storage.stream.backlog import TargetPile
from core.transaction import Database
from ingress.http.waiting import Shared
from ingress.live import judging
from ingress.live.facts import Bounds, Facts, look_at, standings
from ingress.live.judging import Sample
from ingress.live.logs import LogHistory
from ingress.models.page.pipeline import RoleHealth, ShownStage, WaitingTarget
from schemas.topics import GROUPS

LEAST_PAUSE_S = 1.0
INTERVAL_S = 5.0
#: A broker that does not answer is waited for so long by a look; its answer serves the next one.
BROKER_S = 0.5
#: Beyond it what the broker said last is not true any more.
BOUNDS_TTL_S = 15.0
MOST_SAMPLES = 120  # 90 s of one a second, and some more
SHOWN_TARGETS = 10
TOPICS = tuple(topic.name for topic in GROUPS.values())


@dataclass(frozen=True, slots=True)
class PipelineLook:
    """What a look saw, and what it means."""

    facts: Facts
    stages: Sequence[ShownStage]
    roles: dict[str, RoleHealth]


@dataclass(slots=True)
class PipelineWatch:
    """Looks at the pipeline, and remembers what it needs to tell rates and growth.

    Attributes:
        ask: returns the bounds of these topics' logs.
        clock: monotonic seconds.
        seen: is called with each look that is noted.
    """

    database: Database
    ask: Callable[[Sequence[str]], Awaitable[Bounds]]
    clock: Callable[[], float]
    seen: Callable[[PipelineLook], object] = lambda _: None
    _history: LogHistory = field(default_factory=LogHistory)
    _samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))
    _looks: Shared[PipelineLook] = field(default_factory=Shared)
    _last: PipelineLook | None = None
    _asking: asyncio.Task[None] | None = None
    _bounds: tuple[float, Bounds] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Look, and note how long the oldest pieces of work wait, until `stop` is set."""
        await every(self.note, INTERVAL_S, stop)
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking

    async def look(self) -> PipelineLook:
        """Return what is so now; of the last second, what was seen then.

        Raises:
            TransientError: the database is away.
        """
        last = self._last
        if last is not None and 0 <= self.clock() - last.facts.moment < LEAST_PAUSE_S:
            return last
        return await self._looks.of(self._look)

    async def note(self) -> None:
        """Look, and write the trend.

        Raises:
            TransientError: the database is away.
        """
        look = await self.look()
        self.seen(look)
        known: dict[str, float] = {
            stage.name: stage.oldest_waiting_s or 0.0
            for stage in look.stages
            if stage.waiting is not None
        }
        async with self.database.connection() as connection:
            await backlog.note_trend(connection, known)

    async def _look(self) -> PipelineLook:
        bounds = await self._known_bounds()
        facts = await look_at(self.database, self.clock(), bounds)
        now = Sample(facts.moment, standings(facts, self._history))
        shown = judging.stages(facts, now, self._samples)
        self._samples.append(now)
        self._last = PipelineLook(facts, shown, judging.roles(facts, shown))
        return self._last

    async def _known_bounds(self) -> Bounds | None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=BROKER_S)
        if self._bounds is None or self.clock() - self._bounds[0] > BOUNDS_TTL_S:
            return None
        return self._bounds[1]

    async def _ask(self) -> None:
        with suppress(BrokerAway):
            bounds = await self.ask(TOPICS)
            self._bounds = self.clock(), bounds
            self._history.note(self.clock(), bounds)


def top_targets(facts: Facts, owner: str | None) -> tuple[WaitingTarget, ...]:
    """Return the targets at which webhooks of this owner wait longest; None: of all owners."""
    piles: dict[str, list[TargetPile]] = {}
    for pile in facts.due:
        if owner is None or pile.sender == owner:
            piles.setdefault(pile.target, []).append(pile)
    first = sorted(piles.items(), key=lambda item: min(one.oldest for one in item[1]))
    return tuple(
        WaitingTarget(
            target=target,
            waiting=sum(one.waiting for one in some),
            oldest_waiting_s=round(facts.age_s(min(one.oldest for one in some)) or 0.0, 1),
            state=some[0].state,
            waits_for=some[0].waits_for,
        )
        for target, some in first[:SHOWN_TARGETS]
    )
