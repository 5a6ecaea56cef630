"""Becoming the owner of partitions: look, prove membership, raise the epoch, seek, admit.

In a task of its own and never in the rebalance callback: no heartbeat is sent while that runs, so
a slow database would cost the membership (research/runtime.md 2, table).
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from core.errors import ConfigurationError, TransientError
from core.failpoints import reach
from core.messaging.membership import GroupClient, NotAMember
from core.messaging.ports import Bid, Ledger, Standing
from core.messaging.retrying import Backoff
from core.messaging.session import Session
from schemas.record import Partition

log = structlog.get_logger(__name__)

#: After a rejection while still assigned: two owners would otherwise fence each other in turn.
FENCED_WAIT_S = 4.0
#: A halted partition is looked at again: a reset may have been made meanwhile.
HALT_LOOK_S = 30.0
#: After a change of leader the log's end may lag behind for a moment.
BEYOND_END_TRIES = 5


class Claimer:
    """Claims whatever the group gave us and is not ours yet."""

    def __init__(
        self, session: Session, client: GroupClient, ledger: Ledger, *, backoff: Backoff
    ) -> None:
        self._session = session
        self._client = client
        self._ledger = ledger
        self._backoff = backoff
        self._beyond: dict[Partition, int] = {}

    async def run(self) -> None:
        """Claim for ever.

        Raises:
            ConfigurationError: the progress belongs to another cluster or another topic.
        """
        while True:
            await self._wanted()
            failures = 0
            while self._session.tracker.unclaimed():
                try:
                    await self._claim(self._session.tracker.unclaimed())
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
        await asyncio.sleep(self._backoff.delay_s(failures, self._session.random))

    async def _claim(self, partitions: Sequence[Partition]) -> None:
        session, tracker = self._session, self._session.tracker
        token = tracker.token
        standings = await self._ledger.standings(partitions)
        reach("claim.looked")
        bounds = await self._client.bounds(partitions)
        reach("claim.bounded")
        # After the bounds, so that they are those of the topic that is identified: one that is
        # made anew while we run has the same name, and soon enough records to hide it.
        session.identity = await self._client.identify()
        self._check_identity(standings)
        bids = [Bid(p, *bounds[p]) for p in partitions if self._is_inside(p, standings, bounds[p])]
        if not bids:
            return
        # The broker refuses a commit to whoever is no member any more: a zombie that wakes up
        # must not raise epochs over the heads of the rightful owners (trap 2.2).
        await self._client.prove(
            {
                bid.partition: standings[bid.partition].next_offset
                if bid.partition in standings
                else bid.log_start
                for bid in bids
            }
        )
        reach("claim.proven")
        if token != tracker.token:
            return
        claims = await self._ledger.claim(
            bids, cluster_id=session.identity.cluster_id, topic_id=session.identity.topic_id
        )
        reach("claim.raised")
        if token != tracker.token:  # a rebalance came while the database answered (trap 2.3)
            return
        for claim in claims:
            self._client.seek(claim.partition, claim.next_offset)
            if claim.crashes:
                log.warning(
                    "claimed_after_crash",
                    topic=claim.partition.topic,
                    partition=claim.partition.number,
                    offset=claim.next_offset,
                    crashes=claim.crashes,
                    isolate_until=claim.isolate_until,
                )
        tracker.admit(claims, token=token)
        reach("claim.admitted")
        session.arrived.set()
        log.info("claimed", partitions=[claim.partition.number for claim in claims])

    def _check_identity(self, standings: Mapping[Partition, Standing]) -> None:
        ours = self._session.identity
        for partition, standing in standings.items():
            other_cluster = standing.cluster_id not in ("", ours.cluster_id)
            if standing.topic_id and not ours.topic_id:
                raise TransientError(f"the topic {partition.topic} is not there")
            other_topic = standing.topic_id not in ("", ours.topic_id)
            if other_cluster or other_topic:
                what = "another cluster" if other_cluster else "a topic that was made anew"
                raise ConfigurationError(
                    f"progress of {self._session.group} on {partition.topic} belongs to {what} "
                    f"(known: {standing.cluster_id} {standing.topic_id}, here: {ours.cluster_id} "
                    f"{ours.topic_id}). If that is meant, run: "
                    f"photo-archive reset {self._session.group}"
                )

    def _is_inside(
        self,
        partition: Partition,
        standings: Mapping[Partition, Standing],
        bounds: tuple[int, int],
    ) -> bool:
        """Whether the log has what comes next; halts the partition if it never will."""
        start, end = bounds
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
