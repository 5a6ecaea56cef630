"""Tell people what this process knows of its targets: table `target_health`.

Every two seconds one statement writes those of which something changed or where attempts are under
way, so that neither an attempt nor a breaker costs a write. Nothing that is sent depends on it.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from consumers.delivery.attempts import Tried
from consumers.delivery.metrics import LaneMetrics, outcome_class
from consumers.delivery.pacing import Pacer
from consumers.delivery.target_pace import PaceView, TargetHealth
from core.errors import TransientError
from core.repeating import every
from core.storage.delivery import target_health
from core.storage.delivery.target_health import ReportedTarget
from core.transaction import Database

log = structlog.get_logger()

INTERVAL_S = 2.0
MAX_TARGETS = 10_000  # as the pacer knows; of more, those that were tried last
MAX_ROWS = 1000  # of one statement
TIMED = 200  # last attempts of a target whose times are kept


@dataclass(slots=True)
class _Known:
    """What was seen of one target."""

    took_ms: deque[int] = field(default_factory=lambda: deque(maxlen=TIMED))
    last_ok_at: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None


@dataclass(slots=True)
class TargetReports:
    """Watches the lanes, and writes what people are shown of targets.

    Attributes:
        instance: the name of this process, the same after a restart.
        metrics: watches too.
    """

    database: Database
    instance: str
    metrics: LaneMetrics
    _pacer: Pacer | None = None
    _known: OrderedDict[str, _Known] = field(default_factory=OrderedDict)
    _changed: dict[str, None] = field(default_factory=dict)
    _left: dict[str, None] = field(default_factory=dict)  # of the round that is being written
    _is_fresh: bool = True

    def tried(self, target: str, tried: Tried) -> None:
        """Note an attempt that ended."""
        self.metrics.tried(target, tried)
        if tried.health is TargetHealth.UNKNOWN:
            return
        known = self._known.setdefault(target, _Known())
        self._known.move_to_end(target)
        if len(self._known) > MAX_TARGETS:
            self._known.popitem(last=False)
        now = datetime.now(UTC)
        known.took_ms.append(tried.attempt.took_ms)
        if tried.settled.state == "delivered":
            known.last_ok_at = now
        else:
            known.last_error, known.last_error_at = _words(tried), now
        self._changed[target] = None

    def waiting(self, due: int, oldest_s: float) -> None:
        """Pass it on: it is counted where it stands, in PostgreSQL."""
        self.metrics.waiting(due, oldest_s)

    def paced(self, pacer: Pacer) -> None:
        """Note who knows the paces."""
        self.metrics.paced(pacer)
        self._pacer = pacer

    async def run(self, stop: asyncio.Event) -> None:
        """Write what changed until `stop` is set."""
        await every(self.write, INTERVAL_S, stop, postponed=_postponed)

    async def write(self) -> bool:
        """Write a portion of what changed; return whether there is more.

        Raises:
            TransientError: the database is away; what was to be written is kept.
        """
        if self._is_fresh:  # what an earlier life of this process knew is no more
            async with self.database.connection() as connection:
                await target_health.forget(connection, self.instance)
            self._is_fresh = False
        if not self._left:  # a round begins: what changes or moves from here on is for the next one
            busy = () if self._pacer is None else self._pacer.busy()
            self._left, self._changed = self._changed | dict.fromkeys(busy), {}
        names = list(self._left)[:MAX_ROWS]
        for name in names:
            del self._left[name]
        reported, moving = self._reported(names)
        self._changed.update(dict.fromkeys(moving))
        try:
            if reported:
                async with self.database.connection() as connection:
                    await target_health.report(connection, self.instance, reported)
        except BaseException:
            self._changed.update(dict.fromkeys(names))
            raise
        return bool(self._left)

    def _reported(self, names: list[str]) -> tuple[list[ReportedTarget], list[str]]:
        reported, moving, now = [], [], monotonic()
        for name in names:
            view = None if self._pacer is None else self._pacer.view(name, now)
            if view is None:
                continue
            reported.append(_reported(name, self._known.get(name) or _Known(), view))
            if not view.is_settled:
                moving.append(name)
        return reported, moving


def _reported(name: str, known: _Known, view: PaceView) -> ReportedTarget:
    now, took = datetime.now(UTC), sorted(known.took_ms)

    def until(seconds: float) -> datetime | None:
        return now + timedelta(seconds=seconds) if seconds > 0 else None

    return ReportedTarget(
        target=name,
        cap=view.cap,
        in_flight=view.in_flight,
        failures=view.failures,
        is_half_open=view.is_half_open,
        opened_until=until(view.opened_s),
        paused_until=until(view.paused_s),
        rated_until=until(view.rated_s),
        last_ok_at=known.last_ok_at,
        last_error=known.last_error,
        last_error_at=known.last_error_at,
        p99_ms=took[min(len(took) - 1, len(took) * 99 // 100)] if took else None,
    )


def _words(tried: Tried) -> str:
    status = tried.attempt.status
    return outcome_class(tried) if status is None else f"HTTP {status}"


def _postponed(error: TransientError) -> None:
    log.info("targets_not_reported", error=str(error))
