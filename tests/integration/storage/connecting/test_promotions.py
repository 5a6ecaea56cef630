"""A connection to a server on a timeline that nobody has seen: what must not be given out twice."""

from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from core.errors import DatabaseAway
from core.offsets import Bid, Identity, Move, Owner
from core.settings import DatabaseSettings
from core.storage.history import History
from core.storage.pool import Pool, open_pool
from core.storage.stream import outbox, progress, promotions
from schemas.record import Partition, Record
from tests.servers import fresh_database

PLACE = Partition("t", 0)
BEYOND = 1_000_000
OWNER = Owner("g", "a/1", isolate_after=2, isolate_span=10)
#: The server has another timeline than the archive knows.
PROMOTED = "UPDATE promotions SET timeline = timeline + 100"


@pytest.fixture
def settings(database_url: str) -> DatabaseSettings:
    return DatabaseSettings(url=SecretStr(database_url))


async def add(pool: Pool) -> int:
    async with pool.transaction() as tx:
        (row,) = await outbox.add(tx, [Record("t", b"k", (), b"v")])
    return row.id


async def claim(pool: Pool) -> int:
    async with pool.transaction() as tx:
        (claimed,) = await progress.claim(tx, OWNER, [Bid(PLACE, 0, 9)], Identity("c", "i"))
    return claimed.epoch


async def test_ids_and_epochs_go_on_far_beyond_those_that_may_have_been_given(
    settings: DatabaseSettings,
) -> None:
    async with open_pool(settings) as before:
        given, epoch = await add(before), await claim(before)
        await before.execute(PROMOTED)

    async with open_pool(settings) as after:
        first = await add(after)
        assert first > given + BEYOND
        async with after.transaction() as tx:
            assert not await progress.advance(tx, OWNER, [Move(PLACE, epoch, 0, 1)]), "a zombie"
        with pytest.raises(DatabaseAway, match="forgotten"):
            await claim(after)  # Kafka's log was not asked yet
        async with after.transaction() as tx:
            await promotions.settle(tx, 0)
        assert await claim(after) > epoch + BEYOND
        (promotion,) = await promotions.forgetful(after)
        assert promotion.missing_since <= promotion.noted_at

    async with open_pool(settings) as again:
        assert await add(again) == first + 1, "noted once"


async def test_two_promotions_from_one_base_give_out_nothing_that_the_other_does(
    postgres_url: str, settings: DatabaseSettings
) -> None:
    """As two standbys of one primary: a process that knew the one must not go on at the other."""
    async with open_pool(settings) as base:
        await add(base)
        await base.execute(PROMOTED)
    base_name = settings.url.get_secret_value().rpartition("/")[2]
    ids, newest = [], []
    for _ in range(2):
        with contextmanager(fresh_database)(postgres_url, f"TEMPLATE {base_name}") as url:
            async with open_pool(DatabaseSettings(url=SecretStr(url))) as pool:
                ids.append(await add(pool))
                newest.append(await pool.fetchval("SELECT note_promotion()"))

    assert abs(ids[0] - ids[1]) >= BEYOND
    history = History(lambda: None)
    history.compare(newest[0])
    with pytest.raises(DatabaseAway, match="this process ends"):
        history.compare(newest[1])


async def test_a_server_that_loses_nothing_goes_on_as_it_was(settings: DatabaseSettings) -> None:
    async with open_pool(settings) as before:
        given = await add(before)
        await before.execute(PROMOTED)

    url = f"{settings.url.get_secret_value()}?photo_archive.loses_nothing=on"
    async with open_pool(DatabaseSettings(url=SecretStr(url))) as after:
        assert await add(after) == given + 1
        assert await claim(after) >= 1
        assert await promotions.forgetful(after) == ()


def test_a_process_that_remembers_more_than_the_database_ends() -> None:
    ended: list[bool] = []
    history = History(lambda: ended.append(True))
    history.compare(3)
    history.compare(3)
    assert not ended
    for _ in range(2):
        with pytest.raises(DatabaseAway, match="this process ends"):
            history.compare(4)
    assert len(ended) == 1
