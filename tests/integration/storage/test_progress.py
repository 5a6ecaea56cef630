"""Progress rows: the guard, the claim, and how deaths are counted."""

import asyncio

from core.messaging.ports import Bid, Ledger, Move
from core.storage.pool import Pool
from core.storage.stream.progress import ProgressTable, StoredClaim, reset
from schemas.record import Partition

P0, P1 = Partition("t", 0), Partition("t", 1)


def table(pool: Pool, owner: str = "a/1") -> ProgressTable:
    return ProgressTable(pool, group="g", owner=owner, isolate_after=2, isolate_span=10)


async def claim(
    ledger: ProgressTable, *partitions: Partition, log_end: int = 1000
) -> dict[Partition, StoredClaim]:
    bids = [Bid(partition, 0, log_end) for partition in partitions or (P0,)]
    claims = await ledger.claim(bids, cluster_id="c", topic_id="i")
    return {one.partition: one for one in claims}


async def advance(ledger: ProgressTable, pool: Pool, *moves: Move) -> frozenset[Partition]:
    async with pool.transaction() as tx:
        return await ledger.advance(tx, moves)


async def test_it_is_the_ledger_that_the_loop_asks_for(pool: Pool) -> None:
    ledger: Ledger = table(pool)
    assert await ledger.standings([P0]) == {}


async def test_a_first_claim_begins_at_the_logs_start_and_the_next_goes_on(pool: Pool) -> None:
    first = await table(pool).claim([Bid(P0, 17, 99)], cluster_id="c", topic_id="i")
    assert (first[0].next_offset, first[0].epoch) == (17, 1)

    assert await advance(table(pool), pool, Move(P0, 1, 17, 20)) == {P0}

    again = await claim(table(pool, "b/1"))
    assert (again[P0].next_offset, again[P0].epoch) == (20, 2)
    standing = (await table(pool).standings([P0]))[P0]
    assert (standing.next_offset, standing.cluster_id, standing.topic_id) == (20, "c", "i")


async def test_a_move_by_an_old_epoch_or_from_elsewhere_moves_nothing(pool: Pool) -> None:
    zombie, heir = table(pool, "zombie"), table(pool, "heir")
    await claim(zombie, P0, P1)
    await claim(heir, P0)

    moves = (Move(P0, 1, 0, 5), Move(P1, 1, 0, 5))
    assert await advance(zombie, pool, *moves) == {P1}, "only the stolen one is lost"
    assert await advance(heir, pool, Move(P0, 2, 3, 5)) == frozenset()
    assert await advance(heir, pool, Move(P0, 2, 0, 5)) == {P0}


async def test_a_move_that_waited_for_a_claim_sees_the_new_epoch(pool: Pool) -> None:
    zombie, heir = table(pool, "zombie"), table(pool, "heir")
    await claim(zombie)
    async with pool.transaction() as tx:
        await tx.execute("UPDATE progress SET epoch = epoch + 1 WHERE part = 0")
        waiting = asyncio.create_task(advance(zombie, pool, Move(P0, 1, 0, 5)))
        await asyncio.sleep(0.2)  # it waits for the row's lock now
        assert not waiting.done()

    assert await waiting == frozenset()
    assert await advance(heir, pool, Move(P0, 2, 0, 5)) == {P0}


async def test_moves_in_any_order_do_not_deadlock(pool: Pool) -> None:
    ledger = table(pool)
    partitions = [Partition("t", number) for number in range(12)]
    await claim(ledger, *partitions)

    async def step(order: list[Partition], start: int) -> int:
        moved = await advance(ledger, pool, *(Move(p, 1, start, start + 1) for p in order))
        return len(moved)

    for start in range(20):
        both = await asyncio.gather(step(partitions, start), step(partitions[::-1], start))
        assert sum(both) == 12, "each row was moved by exactly one of the two"


async def test_deaths_without_progress_are_counted_and_lead_to_isolation(pool: Pool) -> None:
    assert (await claim(table(pool, "life 1")))[P0].crashes == 0
    assert (await claim(table(pool, "life 2")))[P0].crashes == 1
    third = (await claim(table(pool, "life 3")))[P0]
    assert (third.crashes, third.isolate_until) == (2, 10)


async def test_a_death_after_progress_does_not_count(pool: Pool) -> None:
    await claim(table(pool, "life 1"))
    await claim(table(pool, "life 2"))
    assert await advance(table(pool, "life 2"), pool, Move(P0, 2, 0, 7)) == {P0}

    assert (await claim(table(pool, "life 3")))[P0].crashes == 0


async def test_a_clean_release_and_ones_own_recovery_do_not_count(pool: Pool) -> None:
    ledger = table(pool, "life 1")
    await claim(ledger)
    assert (await claim(ledger))[P0].crashes == 0, "claimed again after an error"
    await ledger.release({P0: 2})

    assert (await claim(table(pool, "life 2")))[P0].crashes == 0


async def test_releasing_what_another_one_has_changes_nothing(pool: Pool) -> None:
    zombie, heir = table(pool, "zombie"), table(pool, "heir")
    await claim(zombie)
    await claim(heir)
    await zombie.release({P0: 1})

    assert await pool.fetchval("SELECT owner FROM progress") == "heir"


async def test_a_death_with_nothing_to_do_does_not_count(pool: Pool) -> None:
    for life in range(5):
        claims = await claim(table(pool, f"life {life}"), log_end=0)
        assert claims[P0].crashes == 0


async def isolated(pool: Pool) -> None:
    """Three lives: the third is in isolation."""
    for life in range(3):
        await claim(table(pool, f"life {life}"))


async def test_in_isolation_only_the_record_at_work_is_blamed(pool: Pool) -> None:
    await isolated(pool)
    assert (await claim(table(pool, "an unrelated kill")))[P0].crashes == 2

    ledger = table(pool, "life 3")
    await claim(ledger)
    await ledger.attempt(P0, 0)
    guilty = (await claim(table(pool, "life 4")))[P0]
    assert (guilty.crashes, guilty.attempted_offset) == (3, 0)


async def test_an_attempt_on_another_partition_clears_the_mark(pool: Pool) -> None:
    ledger = table(pool, "life 1")
    await claim(ledger, P0, P1)
    await ledger.attempt(P0, 0)
    await ledger.attempt(P1, 0)

    rows = await pool.fetch("SELECT attempted_offset FROM progress ORDER BY part")
    assert [row["attempted_offset"] for row in rows] == [-1, 0]


async def test_progress_within_isolation_forgives_back_to_its_beginning_and_then_wholly(
    pool: Pool,
) -> None:
    await isolated(pool)
    ledger = table(pool, "life 3")
    await claim(ledger)
    await ledger.attempt(P0, 0)
    last = (await claim(table(pool, "life 4")))[P0]
    assert last.crashes == 3

    await advance(ledger, pool, Move(P0, last.epoch, 0, 1))
    assert await pool.fetchval("SELECT crashes FROM progress") == 2
    await advance(ledger, pool, Move(P0, last.epoch, 1, last.isolate_until))
    assert await pool.fetchval("SELECT crashes FROM progress") == 0


async def test_isolation_never_reaches_beyond_the_logs_end(pool: Pool) -> None:
    for life in range(3):
        claims = await claim(table(pool, f"life {life}"), log_end=4)
    assert claims[P0].isolate_until == 4


async def test_a_reset_fences_whoever_runs_and_forgets_where_the_rows_came_from(pool: Pool) -> None:
    ledger = table(pool)
    await claim(ledger)
    await reset(pool, group="g", topic="t", offsets={0: 42, 5: 7})

    assert await advance(ledger, pool, Move(P0, 1, 42, 43)) == frozenset()
    standing = (await ledger.standings([P0]))[P0]
    assert (standing.next_offset, standing.cluster_id, standing.topic_id) == (42, "", "")
    claims = await ledger.claim([Bid(Partition("t", 5), 0, 99)], cluster_id="c", topic_id="i")
    assert claims[0].next_offset == 7


async def test_standings_of_other_groups_are_not_seen(pool: Pool) -> None:
    await claim(table(pool))
    other = ProgressTable(pool, group="other", owner="x", isolate_after=2, isolate_span=10)
    assert await other.standings([P0]) == {}
