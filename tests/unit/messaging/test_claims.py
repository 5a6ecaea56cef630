"""How a member comes by partitions and gives them back, on a virtual clock."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from core.messaging.claiming import FENCED_WAIT_S
from core.messaging.loop import run_role
from core.messaging.member import CLAIM_GRACE_S
from core.messaging.ports import OutOfLog, Stretch
from core.offsets import Bid, Claim, Identity, Owner
from core.transaction import Transaction
from schemas.record import Partition
from tests.fakes.messaging import MemoryGroupClient, MemoryLog
from tests.simulation.clock import virtual
from tests.simulation.ports import SimLedger
from tests.unit.messaging.world import PARTITIONS, World


class SlowClaims(SimLedger):
    """PostgreSQL takes its time for a claim."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.claiming = asyncio.Event()

    async def claim(
        self, tx: Transaction, owner: Owner, bids: Sequence[Bid], identity: Identity
    ) -> list[Claim]:
        self.claiming.set()
        await asyncio.sleep(self.takes_s)
        return await super().claim(tx, owner, bids, identity)


@virtual
async def test_a_claim_under_way_at_a_stop_is_ended_and_given_back() -> None:
    world, ledger, stop = World(), SlowClaims(1.0), asyncio.Event()
    task = asyncio.create_task(run_role(replace(world.parts(), ledger=ledger), stop))
    await ledger.claiming.wait()

    stop.set()
    await task

    rows = world.database.rows.values()
    assert {(row.epoch, row.owner) for row in rows} == {(1, "")}, "a clean end is no death"
    assert world.effects() == Counter()


@virtual
async def test_a_claim_that_takes_too_long_does_not_hold_up_a_rebalance() -> None:
    world, ledger, stop = World(), SlowClaims(60.0), asyncio.Event()
    task = asyncio.create_task(run_role(replace(world.parts(), ledger=ledger), stop))
    await ledger.claiming.wait()

    async with asyncio.timeout(CLAIM_GRACE_S + 1):
        await world.client.rebalance(PARTITIONS)

    stop.set()
    await task


class SlowProofs(MemoryGroupClient):
    """The broker answers proofs of membership late, and may lose what was asked for."""

    def __init__(self, log: MemoryLog, takes_s: float) -> None:
        super().__init__(log)
        self.takes_s = takes_s
        self.proving = asyncio.Event()
        self.lost: list[Partition] = []

    async def fetch(
        self, partitions: Iterable[Partition], *, max_records: int, timeout_s: float
    ) -> list[tuple[Partition, Stretch]]:
        if self.lost:
            lost, self.lost = self.lost, []
            raise OutOfLog(lost)
        return await super().fetch(partitions, max_records=max_records, timeout_s=timeout_s)

    async def prove(self, offsets: Mapping[Partition, int]) -> None:
        self.proving.set()
        await asyncio.sleep(self.takes_s)
        await super().prove(offsets)


@virtual
async def test_no_epoch_is_raised_for_partitions_that_were_taken_away_during_the_proof() -> None:
    world = World()
    client = world.client = SlowProofs(world.log, takes_s=1.0)
    stop = asyncio.Event()
    task = asyncio.create_task(run_role(world.parts(), stop))
    await client.proving.wait()

    await client.rebalance(PARTITIONS[:1])
    async with asyncio.timeout(10):
        while world.passed < 20:
            await asyncio.sleep(0.01)

    assert {row.partition: row.epoch for row in world.database.rows.values()} == {PARTITIONS[0]: 1}
    stop.set()
    await task


@virtual
async def test_nothing_is_claimed_any_more_while_the_last_batch_is_finished() -> None:
    world, stop = World(), asyncio.Event()
    client = world.client = SlowProofs(world.log, takes_s=0.0)
    world.role.prepare_s = 5.0
    task = asyncio.create_task(run_role(world.parts(), stop))
    async with asyncio.timeout(10):
        while not world.role.preparing:
            await asyncio.sleep(0.01)
        client.proving.clear()
        client.takes_s, client.lost = 1.0, [PARTITIONS[0]]
        await client.proving.wait()

    stop.set()
    await task

    assert world.database.rows[PARTITIONS[0]].epoch == 1
    assert len(client.proofs) == 2, "nor is the broker asked again and again"


@virtual
async def test_a_fenced_member_waits_before_it_claims_again() -> None:
    world, stop = World(), asyncio.Event()
    world.role.prepare_s = 0.1
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(run_role(world.parts(), stop))
    async with asyncio.timeout(30):
        while not world.passed:
            await asyncio.sleep(0.001)
        row = world.database.rows[PARTITIONS[0]]
        row.epoch, row.owner, stolen_at = row.epoch + 1, "thief", loop.time()
        while world.database.rows[PARTITIONS[0]].owner != "me":
            await asyncio.sleep(0.001)

    assert loop.time() - stolen_at > FENCED_WAIT_S
    stop.set()
    await task
