"""Progress rows: the guard, the claim, and how deaths are counted."""

import asyncio

from core.messaging.ports import Ledger
from core.offsets import Bid, Claim, Identity, Move, Owner, Standing
from core.storage.pool import Pool
from core.storage.stream import progress
from schemas.record import Partition

P0, P1 = Partition("t", 0), Partition("t", 1)


IDENTITY = Identity("c", "i")


def owner(name: str = "a/1") -> Owner:
    return Owner("g", name, isolate_after=2, isolate_span=10)


async def bid(pool: Pool, by: Owner, *bids: Bid) -> list[Claim]:
    async with pool.transaction() as tx:
        return await progress.claim(tx, by, bids, IDENTITY)


async def claim(
    pool: Pool, by: Owner, *partitions: Partition, log_end: int = 1000
) -> dict[Partition, Claim]:
    bids = [Bid(partition, 0, log_end) for partition in partitions or (P0,)]
    return {one.partition: one for one in await bid(pool, by, *bids)}


async def advance(pool: Pool, by: Owner, *moves: Move) -> frozenset[Partition]:
    async with pool.transaction() as tx:
        return await progress.advance(tx, by, moves)


async def test_it_is_the_ledger_that_the_loop_asks_for(pool: Pool) -> None:
    ledger: Ledger = progress
    assert await ledger.standings(pool, "g", [P0]) == {}


async def test_a_first_claim_begins_at_the_logs_start_and_the_next_goes_on(pool: Pool) -> None:
    first = await bid(pool, owner(), Bid(P0, 17, 99))
    assert (first[0].next_offset, first[0].epoch) == (17, 1)

    assert await advance(pool, owner(), Move(P0, 1, 17, 20)) == {P0}

    again = await claim(pool, owner("b/1"))
    assert (again[P0].next_offset, again[P0].epoch) == (20, 2)
    assert await progress.standings(pool, "g", [P0]) == {P0: Standing(20, IDENTITY)}


async def test_a_move_by_an_old_epoch_or_from_elsewhere_moves_nothing(pool: Pool) -> None:
    zombie, heir = owner("zombie"), owner("heir")
    await claim(pool, zombie, P0, P1)
    await claim(pool, heir, P0)

    moves = (Move(P0, 1, 0, 5), Move(P1, 1, 0, 5))
    assert await advance(pool, zombie, *moves) == {P1}, "only the stolen one is lost"
    assert await advance(pool, heir, Move(P0, 2, 3, 5)) == frozenset()
    assert await advance(pool, heir, Move(P0, 2, 0, 5)) == {P0}


async def test_a_move_that_waited_for_a_claim_sees_the_new_epoch(pool: Pool) -> None:
    zombie, heir = owner("zombie"), owner("heir")
    await claim(pool, zombie)
    async with pool.transaction() as tx:
        await tx.execute("UPDATE progress SET epoch = epoch + 1, owner = 'heir' WHERE part = 0")
        waiting = asyncio.create_task(advance(pool, zombie, Move(P0, 1, 0, 5)))
        await asyncio.sleep(0.2)  # it waits for the row's lock now
        assert not waiting.done()

    assert await waiting == frozenset()
    assert await advance(pool, heir, Move(P0, 2, 0, 5)) == {P0}


async def test_an_epoch_that_is_given_out_twice_moves_for_its_owner_alone(pool: Pool) -> None:
    """A promoted standby that lagged has forgotten the claim of somebody who still works."""
    zombie, heir = owner("zombie"), owner("heir")
    (lost,) = await bid(pool, zombie, Bid(P0, 0, 99))
    await pool.execute("UPDATE progress SET epoch = epoch - 1, owner = ''")
    assert await advance(pool, zombie, Move(P0, lost.epoch, 0, 5)) == frozenset()

    (again,) = await bid(pool, heir, Bid(P0, 0, 99))

    assert again.epoch == lost.epoch, "given out twice"
    assert await advance(pool, zombie, Move(P0, lost.epoch, 0, 5)) == frozenset()
    assert await advance(pool, heir, Move(P0, again.epoch, 0, 5)) == {P0}


async def test_moves_in_any_order_do_not_deadlock(pool: Pool) -> None:
    mine = owner()
    partitions = [Partition("t", number) for number in range(12)]
    await claim(pool, mine, *partitions)

    async def step(order: list[Partition], start: int) -> int:
        moved = await advance(pool, mine, *(Move(p, 1, start, start + 1) for p in order))
        return len(moved)

    for start in range(20):
        both = await asyncio.gather(step(partitions, start), step(partitions[::-1], start))
        assert sum(both) == 12, "each row was moved by exactly one of the two"


async def test_deaths_without_progress_are_counted_and_lead_to_isolation(pool: Pool) -> None:
    assert (await claim(pool, owner("life 1")))[P0].crashes == 0
    assert (await claim(pool, owner("life 2")))[P0].crashes == 1
    third = (await claim(pool, owner("life 3")))[P0]
    assert (third.crashes, third.isolate_until) == (2, 10)


async def test_a_death_after_progress_does_not_count(pool: Pool) -> None:
    await claim(pool, owner("life 1"))
    await claim(pool, owner("life 2"))
    assert await advance(pool, owner("life 2"), Move(P0, 2, 0, 7)) == {P0}

    assert (await claim(pool, owner("life 3")))[P0].crashes == 0


async def test_a_clean_release_and_ones_own_recovery_do_not_count(pool: Pool) -> None:
    mine = owner("life 1")
    await claim(pool, mine)
    assert (await claim(pool, mine))[P0].crashes == 0, "claimed again after an error"
    await progress.release(pool, mine, {P0: 2})

    assert (await claim(pool, owner("life 2")))[P0].crashes == 0


async def test_releasing_what_another_one_has_changes_nothing(pool: Pool) -> None:
    zombie, heir = owner("zombie"), owner("heir")
    await claim(pool, zombie)
    await claim(pool, heir)
    await progress.release(pool, zombie, {P0: 1})

    assert await pool.fetchval("SELECT owner FROM progress") == "heir"


async def test_a_death_with_nothing_to_do_does_not_count(pool: Pool) -> None:
    for life in range(5):
        claims = await claim(pool, owner(f"life {life}"), log_end=0)
        assert claims[P0].crashes == 0


async def isolated(pool: Pool) -> None:
    """Three lives: the third is in isolation."""
    for life in range(3):
        await claim(pool, owner(f"life {life}"))


async def test_in_isolation_only_the_record_at_work_is_blamed(pool: Pool) -> None:
    await isolated(pool)
    assert (await claim(pool, owner("an unrelated kill")))[P0].crashes == 2

    mine = owner("life 3")
    await claim(pool, mine)
    await progress.attempt(pool, mine, P0, 0)
    guilty = (await claim(pool, owner("life 4")))[P0]
    assert (guilty.crashes, guilty.attempted_offset) == (3, 0)


async def test_an_attempt_on_another_partition_clears_the_mark(pool: Pool) -> None:
    mine = owner("life 1")
    await claim(pool, mine, P0, P1)
    await progress.attempt(pool, mine, P0, 0)
    await progress.attempt(pool, mine, P1, 0)

    rows = await pool.fetch("SELECT attempted_offset FROM progress ORDER BY part")
    assert [row["attempted_offset"] for row in rows] == [-1, 0]


async def test_progress_within_isolation_forgives_back_to_its_beginning_and_then_wholly(
    pool: Pool,
) -> None:
    await isolated(pool)
    mine = owner("life 3")
    await claim(pool, mine)
    await progress.attempt(pool, mine, P0, 0)
    mine = owner("life 4")
    last = (await claim(pool, mine))[P0]
    assert last.crashes == 3

    await advance(pool, mine, Move(P0, last.epoch, 0, 1))
    assert await pool.fetchval("SELECT crashes FROM progress") == 2
    await advance(pool, mine, Move(P0, last.epoch, 1, last.isolate_until))
    assert await pool.fetchval("SELECT crashes FROM progress") == 0


async def test_isolation_never_reaches_beyond_the_logs_end(pool: Pool) -> None:
    for life in range(3):
        claims = await claim(pool, owner(f"life {life}"), log_end=4)
    assert claims[P0].isolate_until == 4


async def test_a_reset_fences_whoever_runs_and_forgets_where_the_rows_came_from(pool: Pool) -> None:
    mine = owner()
    await claim(pool, mine)
    await progress.reset(pool, group="g", topic="t", offsets={0: 42, 5: 7})

    assert await advance(pool, mine, Move(P0, 1, 42, 43)) == frozenset()
    standings = await progress.standings(pool, "g", [P0])
    assert standings == {P0: Standing(42, Identity("", ""))}
    claims = await bid(pool, mine, Bid(Partition("t", 5), 0, 99))
    assert claims[0].next_offset == 7


async def test_standings_of_other_groups_are_not_seen(pool: Pool) -> None:
    await claim(pool, owner())
    assert await progress.standings(pool, "other", [P0]) == {}
