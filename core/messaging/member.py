"""Join the group, hand partitions over without losing work, and make the advisory commit."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

from core.errors import TransientError
from core.failpoints import reach
from core.messaging.outbox import OutboxPublisher
from core.messaging.session import RoleParts, Session
from core.repeating import pause
from schemas.record import Partition

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

PUBLISH_GRACE_S = 6.0
CLAIM_GRACE_S = 3.0


class Member(Generic[E, P]):
    """Our membership of the group; it listens to rebalances (`core.messaging.ports.Listener`)."""

    def __init__(self, session: Session, parts: RoleParts[E, P], outbox: OutboxPublisher) -> None:
        self._session = session
        self._parts = parts
        self._outbox = outbox
        self._joined = asyncio.Event()
        self._stored_id = ""
        self._failure: Exception | None = None
        self._committed: dict[Partition, int] = {}

    async def join(self, stop: asyncio.Event) -> bool:
        """Evict the dead predecessor and join, until it works; return False if stopped first."""
        failures = 0
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                attempt = asyncio.ensure_future(self._try_to_join())
                try:
                    await asyncio.wait({attempt, stopped}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    is_late = not attempt.done()
                    if is_late:  # a start without a broker may take half a minute
                        attempt.cancel()
                        await asyncio.gather(attempt, return_exceptions=True)
                if is_late:
                    return False
                error = attempt.result()
                self._session.wait_for("join", error)
                if error is None:
                    return True
                failures += 1
                log.warning("join_failed", error=str(error), failures=failures)
                await pause(self._parts.backoff.delay_s(failures, self._session.random), stop)
            return False
        finally:
            stopped.cancel()

    async def _try_to_join(self) -> TransientError | None:
        parts = self._parts
        try:
            reach("join.begun")
            async with parts.database.connection() as connection:
                old = await parts.members.predecessor(connection, parts.group, parts.instance)
            reach("join.looked_up")
            if old:
                await parts.evict(old)
            reach("join.evicted")
            self._session.identity = await parts.client.start(self)
            reach("join.joined")
        except TransientError as error:
            return error
        return None

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Let the claimer claim the partitions that the group assigned to us."""
        self._session.tracker.assigned(partitions)
        self._session.queue.clear()
        self._session.draining = False
        self._committed = {}
        self._session.claim_wanted.set()
        self._joined.set()
        log.info("assigned", partitions=sorted(p.number for p in partitions))

    async def on_revoked(self) -> None:
        """Finish what is in flight, commit its offsets and give all partitions back.

        Bounded by the drain time: what takes longer is fenced by the next owner's epoch.
        """
        try:
            await self._drain()
            await self._hand_over()
        except Exception as error:  # noqa: BLE001  # aiokafka would only log it: run() raises it
            self._failure = error
            self._joined.set()
        finally:
            self._session.tracker.revoked()

    async def leave(self) -> None:
        """Finish what is in flight, publish it and give all partitions back. Bounded in time."""
        await self._drain()
        reach("leave.drained")
        if not await self._outbox.quiet(PUBLISH_GRACE_S):
            log.warning("publishing_left_to_the_sweeper")
        reach("leave.published")
        await self._hand_over()

    async def run(self) -> None:
        """Store our member id after each join and commit our progress to Kafka, until cancelled.

        Raises:
            Exception: the error of a rebalance callback.
        """
        while True:
            try:
                async with asyncio.timeout(self._session.limits.advisory_commit_interval_s):
                    await self._joined.wait()
            except TimeoutError:
                pass
            self._joined.clear()
            if self._failure is not None:
                raise self._failure
            try:
                await self._store_member_id()
                await self._commit_offsets()
            except TransientError as error:
                log.info("advisory_commit_failed", error=str(error))

    async def _store_member_id(self) -> None:
        parts, member_id = self._parts, self._parts.client.member_id
        if member_id and member_id != self._stored_id:
            async with parts.database.connection() as connection:
                await parts.members.store(connection, parts.group, parts.instance, member_id)
            reach("join.remembered")
            self._stored_id = member_id

    async def _commit_offsets(self) -> None:
        progress = self._session.tracker.progress()
        news = {p: offset for p, offset in progress.items() if self._committed.get(p) != offset}
        if news:
            reach("advise.begun")
            await self._parts.client.commit(news)
            reach("advise.done")
            self._committed |= news

    async def _drain(self) -> None:
        self._session.draining = True  # nothing more is fetched or claimed
        self._session.queue.clear()
        self._session.taken.set()
        if not await self._session.quiet(self._session.settings.drain_timeout_s):
            log.warning("drain_timed_out", batches=self._session.in_flight)

    async def _hand_over(self) -> None:
        """Commit the last offsets to Kafka and give our progress rows back, as far as possible."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLAIM_GRACE_S), self._session.claiming:
                pass  # a claim under way has ended: its partitions are given back too
        epochs = self._session.tracker.ready()
        if not epochs:
            return
        try:
            await self._parts.client.commit(self._session.tracker.progress())
        except TransientError as error:
            log.info("last_commit_failed", error=str(error))
        reach("leave.committed")
        await self.give_back()
        reach("leave.released")

    async def give_back(self) -> None:
        """Release our progress rows: the next claim then counts no death against a record.

        Where PostgreSQL is away nobody claims; when it is back that claim counts one, which the
        first progress clears.
        """
        try:
            async with self._parts.database.connection() as connection:
                await self._parts.ledger.release(
                    connection, self._parts.owner, self._session.tracker.ready()
                )
        except TransientError as error:
            log.info("release_failed", error=str(error))
