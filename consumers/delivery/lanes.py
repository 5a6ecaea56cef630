"""Lanes: due webhooks are leased per target, sent, and their outcome is recorded.

No transaction is open during a POST. The number of webhooks for a target is decided before they are
claimed (`pacing`): a webhook that waits for its target holds no resource; one claimed ahead holds a
lease until a worker is free. After a fault of our own (database, blob store, resolver) the lease is
released, and nothing is charged until the schedule's window ends. An unexpected error affects one
webhook only.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from consumers.delivery.attempts import Tried
from consumers.delivery.pacing import Pacer
from consumers.delivery.ports import Courier, DeliverySchedule, Watch
from consumers.delivery.recording import Outcomes, Recorder
from consumers.delivery.target_pace import BreakerChange, PaceLimits
from core.errors import TransientError
from core.failpoints import reach
from core.repeating import every
from core.storage.delivery.deliveries import Attempt, Leased, Settled
from core.telemetry import tracing
from core.transaction import Database
from schemas.callback import host_of

log = structlog.get_logger()

EXPIRE_INTERVAL_S = 5.0
CLAIM_RETRY_S = 1.0
MAX_UNRECORDED = 500  # outcomes waiting for the database; at this number no new attempt begins
#: A webhook claimed ahead that gets no worker in time is released uncharged: another process may
#: have a free worker, and the lease must last longer than the attempt.
BEGIN_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of the lanes of one process.

    Attributes:
        interval_s: how long to sleep when nothing wakes us.
        drain_s: how long a stop waits for what is in flight.
        record_s: how long an outcome is held while the database is away; less than the lease.
        disable_after: openings of its breaker in a row that disable a target; 0: never.
    """

    pace: PaceLimits
    interval_s: float
    drain_s: float
    record_s: float
    disable_after: int = 0


@dataclass(slots=True)
class Lanes:
    """Sends what is due until stopped.

    Attributes:
        wake: set when rows have arrived.
    """

    database: Database
    schedule: DeliverySchedule
    courier: Courier
    limits: LaneLimits
    watch: Watch
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    pacer: Pacer = field(init=False)
    _recorder: Recorder = field(init=False)
    _workers: asyncio.Semaphore = field(init=False)
    _waiting: int = field(default=0, init=False)
    _stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Begin without knowledge of any target."""
        self.pacer = Pacer(self.limits.pace)
        self._recorder = Recorder(self._write, self.limits.record_s, self.wake.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and send until `stop` is set; then finish the attempts in flight."""
        self._workers, self._stopping = asyncio.Semaphore(self.limits.pace.workers), False
        async with asyncio.TaskGroup() as group:
            expiring = every(self._expire, EXPIRE_INTERVAL_S, stop, postponed=_expire_failed)
            helpers = [
                group.create_task(one) for one in (expiring, self._on(stop), self._recorder.run())
            ]
            sending: set[asyncio.Task[None]] = set()
            while not stop.is_set():
                self.wake.clear()
                for lease in await self._claim():
                    self.pacer.reserve(
                        lease.target, lease.delivery_id, time.monotonic(), lease.sender
                    )
                    task = group.create_task(self._send(lease))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                self.watch.paced(self.pacer)
                await self._sleep()
            self._stopping = True
            for _ in range(self._waiting):  # webhooks without a worker are released at once
                self._workers.release()
            if sending:
                _, late = await asyncio.wait(sending, timeout=self.limits.drain_s)
                for task in late:  # their leases end, and another worker retries
                    task.cancel()
            for helper in helpers:
                helper.cancel()

    async def _on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.wake.set()

    async def _sleep(self) -> None:
        wait_s = min(self.limits.interval_s, self.pacer.wait_s(time.monotonic()))
        try:
            await asyncio.wait_for(self.wake.wait(), wait_s)
        except TimeoutError:
            return

    async def _claim(self) -> Sequence[Leased]:
        if self._waiting * 2 > self.limits.pace.ahead:
            return ()  # few large claims cost the database less than many small ones
        room = self.pacer.rooms(time.monotonic())
        if room.total <= 0 or self._recorder.pending >= MAX_UNRECORDED:
            return ()
        try:
            # One statement, here and in `_write`, without BEGIN and COMMIT: each is a round trip,
            # for which workers would wait while the loop is busy with those that can send.
            async with self.database.connection() as connection:
                leases = await self.schedule.claim(connection, room)
                reach("lease.taken")
        except TransientError as error:
            log.warning("claim_failed", error=str(error))
            await asyncio.sleep(min(CLAIM_RETRY_S, self.limits.interval_s))
            return ()
        return leases

    async def _send(self, lease: Leased) -> None:
        tried = _not_tried(next_at=None)  # where we are cancelled
        try:
            tried = await self._worked(lease)
        finally:
            # The lane is free now, as the target has answered; `_claim` bounds unrecorded outcomes.
            change = self.pacer.end(
                lease.target, lease.delivery_id, tried.health, time.monotonic(), tried.pause_s
            )
            self.wake.set()
        await self._recorder.record(lease, tried)
        if change.opened or change.closed:
            await self._follow(lease.target, change)

    async def _worked(self, lease: Leased) -> Tried:
        """Attempt when a worker is free; return the lease back where that takes too long."""
        claimed_at = time.monotonic()
        self._waiting += 1
        try:
            await self._workers.acquire()
        finally:
            self._waiting -= 1
        try:
            now = time.monotonic()
            if self._stopping or now - claimed_at > BEGIN_WITHIN_S:
                return _not_tried(next_at=datetime.now(UTC))
            self.pacer.begin(lease.target, lease.delivery_id, now)
            tried = await self._attempt(lease)
            self.watch.tried(lease.target, tried)
            return tried
        finally:
            self._workers.release()

    async def _attempt(self, lease: Leased) -> Tried:
        reach("attempt.begun")
        try:
            return await self.courier.deliver(lease)
        except TransientError as error:
            log.warning("delivery_own_fault", **_about(lease), error=str(error))
            return self.courier.failed(lease, error)
        except Exception as error:
            # If it were raised, it would end the process, and the same webhook would end the next
            # one. So it is settled as a failed attempt, and ends with its schedule.
            log.exception("delivery_internal_error", **_about(lease))
            return self.courier.failed(lease, error)

    async def _follow(self, target: str, change: BreakerChange) -> None:
        """Act on what became of a target's breaker: tell, let others go, disable the target."""
        if change.closed:
            await self._bring_forward(target)
        if not change.opened:
            return
        log.warning("target_breaker_opened", target=target, times=change.opens)
        if not 0 < self.limits.disable_after <= change.opens:
            return
        try:
            async with self.database.transaction() as tx:
                await self.schedule.disable(tx, target, f"its breaker opened {change.opens} times")
            log.warning("target_disabled", target=target, actor="breaker")
        except TransientError as error:  # it opens again
            log.warning("target_not_disabled", target=target, error=str(error))

    async def _bring_forward(self, target: str) -> None:
        """Let those go that wait for a target which answers again; else they go as planned."""
        forward = 0
        try:
            async with self.database.connection() as connection:
                forward = await self.schedule.bring_forward(connection, target)
        except TransientError as error:
            log.warning("retries_not_brought_forward", target=target, error=str(error))
        if forward:
            self.wake.set()
        log.info("target_recovered", target=target, brought_forward=forward)

    async def _write(self, outcomes: Outcomes) -> None:
        async with self.database.connection() as connection:
            lost = await self.schedule.settle(connection, outcomes)
        reach("outcome.done")
        if lost:
            log.warning("leases_lost", count=lost)
        for lease, tried in outcomes:
            attempt = tried.attempt
            if attempt.status is None and attempt.error is None:
                continue  # released without an attempt
            log.info(
                "webhook_attempted",
                **_about(lease),
                attempt=lease.attempt,
                state=tried.settled.state,
                status=attempt.status,
                error=attempt.error,
                took_ms=attempt.took_ms,
            )

    async def _expire(self) -> None:
        async with self.database.transaction() as tx:
            again, given_up = await self.schedule.expire_leases(tx)
            if again or given_up:
                reach("lease.expired")
            backlog = await self.schedule.backlog(tx)
        if again:
            self.wake.set()  # after the commit: before it a claim sees nothing
        self.watch.waiting(*backlog)
        if given_up:
            log.error("webhooks_given_up_after_deaths", count=given_up)


def _about(lease: Leased) -> dict[str, str | None]:
    """Return whose webhook it is, for log lines."""
    told = json.loads(lease.event)
    traceparent = told.get("traceparent") if isinstance(told, dict) else None
    return {
        "delivery_id": str(lease.delivery_id),
        "query_id": str(lease.query_id),
        "host": host_of(lease.url),
        "trace_id": tracing.trace_id(traceparent) if isinstance(traceparent, str) else None,
    }


def _not_tried(*, next_at: datetime | None) -> Tried:
    """Return what gives a lease back as if it had not been."""
    settled = Settled("due", next_at, charged=False)
    return Tried(Attempt(datetime.now(UTC), 0), settled, own_fault=True)


def _expire_failed(error: TransientError) -> None:
    log.warning("expire_failed", error=str(error))
