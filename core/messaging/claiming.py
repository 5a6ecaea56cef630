"""Becoming the owner of partitions: look, prove membership, raise the epoch, seek, admit.

In a task of its own and never in the rebalance callback: no heartbeat is sent while that runs, so
a slow database would cost the membership (docs/research/runtime.md, section 2.7).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import structlog

from core.errors import ConfigurationError, TransientError
from core.failpoints import reach
from core.messaging.ports import Bounds, NotAMember
from core.messaging.session import RoleParts, Session
from core.offsets import Bid, Claim, Standing
from schemas.record import Partition

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: How long to wait after we were fenced while still assigned: otherwise two owners would fence each
#: other in turn.
FENCED_WAIT_S = 4.0
#: How often a halted partition is tried again: someone may have run `reset` meanwhile.
HALT_LOOK_S = 30.0
#: How often a partition may stand beyond its log's end before it is halted: after a change of
#: leader the end lags behind for a moment.
BEYOND_END_TRIES = 5


class Claimer(Generic[E, P]):
    """Claims the partitions that the group assigned to us and that are not ours yet."""

    def __init__(self, session: Session, parts: RoleParts[E, P]) -> None:
        self._session = session
        self._parts = parts
        self._beyond: dict[Partition, int] = {}

    async def run(self) -> None:
        """Claim whenever something is unclaimed, until cancelled.

        Raises:
            ConfigurationError: the progress belongs to another cluster or another topic.
        """
        while True:
            await self._wanted()
            failures = 0
            while not self._session.draining and (wanted := self._session.tracker.unclaimed()):
                try:
                    await self._claim(wanted)
                    failures = 0
                except TransientError as error:
                    failures += 1
                    await self._failed(error, failures)
            self._session.wait_for("claim", None)

    async def _wanted(self) -> None:
        try:
            async with asyncio.timeout(HALT_LOOK_S):
                await self._session.claim_wanted.wait()
        except TimeoutError:
            self._look_again_at_halted()
        self._session.claim_wanted.clear()
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._session.claim_not_before - loop.time()))

    def _look_again_at_halted(self) -> None:
        tracker = self._session.tracker
        for partition, reason in list(tracker.halted.items()):
            if reason in ("below_log_start", "beyond_log_end"):
                del tracker.halted[partition]

    async def _failed(self, error: TransientError, failures: int) -> None:
        stage = "prove" if isinstance(error, NotAMember) else "claim"
        self._session.metrics.consumer_retries.labels(self._session.group, stage).inc()
        self._session.wait_for("claim", error)
        log.warning("claim_failed", error=str(error), failures=failures)
        await asyncio.sleep(self._parts.backoff.delay_s(failures, self._session.random))

    async def _claim(self, partitions: Sequence[Partition]) -> None:
        session, parts, client = self._session, self._parts, self._parts.client
        token = session.tracker.token
        async with parts.database.connection() as connection:
            standings = await parts.ledger.standings(connection, parts.group, partitions)
        reach("claim.looked")
        bounds = await client.bounds(partitions)
        reach("claim.bounded")
        # Asked after the bounds, so that a topic made anew in between is noticed: it has the same
        # name, and soon so many records that the old offset lies within its bounds.
        session.identity = await client.identify()
        self._check_identity(standings)
        bids = [
            Bid(p, bounds[p].start, bounds[p].stable)
            for p in partitions
            if self._is_inside(p, standings, bounds[p])
        ]
        if not bids:
            return
        # The broker refuses the commit of a process that is no member any more. Otherwise a zombie
        # that wakes up would raise epochs and fence the rightful owners (section 2.2 there).
        await client.prove({bid.partition: _next_offset(bid, standings) for bid in bids})
        reach("claim.proven")
        async with session.claiming:
            if token != session.tracker.token or session.draining:
                return
            async with parts.database.transaction() as tx:
                claims = await parts.ledger.claim(tx, parts.owner, bids, session.identity)
            reach("claim.raised")
            self._admit(claims, token)
            reach("claim.admitted")

    def _admit(self, claims: Sequence[Claim], token: int) -> None:
        """Begin to read claimed partitions, unless a rebalance came while the database answered.

        The seeks are made first: where one fails the partition stays unclaimed and is tried again.
        After a rebalance they do no harm, since the next claim seeks once more.
        """
        for claim in claims:
            self._parts.client.seek(claim.partition, claim.next_offset)
        if not self._session.tracker.admit(claims, token=token):
            return
        for claim in claims:
            if claim.crashes:
                log.warning(
                    "claimed_after_crash",
                    topic=claim.partition.topic,
                    partition=claim.partition.number,
                    offset=claim.next_offset,
                    crashes=claim.crashes,
                    isolate_until=claim.isolate_until,
                )
        self._session.arrived.set()
        log.info("claimed", partitions=[claim.partition.number for claim in claims])

    def _check_identity(self, standings: Mapping[Partition, Standing]) -> None:
        ours = self._session.identity
        for partition, standing in standings.items():
            known = standing.identity
            other_cluster = known.cluster_id not in ("", ours.cluster_id)
            if known.topic_id and not ours.topic_id:
                raise TransientError(f"the topic {partition.topic} is not there")
            other_topic = known.topic_id not in ("", ours.topic_id)
            if other_cluster or other_topic:
                what = "another cluster" if other_cluster else "a topic that was made anew"
                raise ConfigurationError(
                    f"progress of {self._session.group} on {partition.topic} belongs to {what} "
                    f"(known: {known.cluster_id} {known.topic_id}, here: {ours.cluster_id} "
                    f"{ours.topic_id}). If that is meant, run: "
                    f"photo-archive reset {self._session.group}"
                )

    def _is_inside(
        self,
        partition: Partition,
        standings: Mapping[Partition, Standing],
        bounds: Bounds,
    ) -> bool:
        """Return whether the log has the next offset; halt the partition if it never will."""
        start, end = bounds.start, bounds.end
        position = standings[partition].next_offset if partition in standings else start
        command = f"photo-archive reset {self._session.group}"
        if position < start:
            self._session.halt(
                partition,
                "below_log_start",
                lost=start - position,
                next_offset=position,
                log_start=start,
                remedy=command,
            )
            return False
        if position <= end:
            self._beyond.pop(partition, None)
            return True
        self._beyond[partition] = self._beyond.get(partition, 0) + 1
        if self._beyond[partition] < BEYOND_END_TRIES:
            raise TransientError(f"{partition} stands at {position}, its log ends at {end}")
        self._beyond.pop(partition)
        self._session.halt(
            partition, "beyond_log_end", next_offset=position, log_end=end, remedy=command
        )
        return False


def _next_offset(bid: Bid, standings: Mapping[Partition, Standing]) -> int:
    """Return where a partition goes on: at its log's start where it was never claimed."""
    standing = standings.get(bid.partition)
    return bid.log_start if standing is None else standing.next_offset
