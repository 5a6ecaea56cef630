"""Sessions and one-time codes on a real database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from consumers.upkeep.pruning import Pruner
from core.settings import DatabaseSettings, RetentionSettings
from core.storage import keys, sessions
from core.storage.keys import NewKey
from core.storage.pool import Pool, open_pool
from core.storage.sessions import PageSession

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(name="pool")
async def _pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


async def begin(pool: Pool, digest: bytes, ends_at: datetime, key_id: str = "a") -> None:
    if await keys.find(pool, key_id) is None:
        await keys.add(pool, NewKey(key_id, "alice", "", b"d", ("read",)))
    key = await keys.find(pool, key_id)
    assert key is not None
    async with pool.transaction() as tx:
        await sessions.add(tx, digest, PageSession(key, NOW, ends_at))


async def left(pool: Pool) -> list[bytes]:
    rows = await pool.fetch(
        "SELECT digest FROM sessions UNION ALL SELECT digest FROM session_codes ORDER BY digest"
    )
    return [row["digest"] for row in rows]


async def test_a_session_is_found_with_its_key(pool: Pool) -> None:
    await begin(pool, b"1", NOW + DAY)

    found = await sessions.find(pool, b"1")

    assert found is not None
    assert (found.key.key_id, found.key.owner) == ("a", "alice")
    assert (found.began_at, found.ends_at) == (NOW, NOW + DAY)
    assert await sessions.find(pool, b"2") is None


async def test_a_session_is_made_longer_and_never_shorter(pool: Pool) -> None:
    await begin(pool, b"1", NOW + DAY)

    await sessions.prolong(pool, b"1", NOW + 2 * DAY)
    await sessions.prolong(pool, b"1", NOW)

    found = await sessions.find(pool, b"1")
    assert found is not None
    assert found.ends_at == NOW + 2 * DAY


async def test_of_many_that_come_with_one_code_one_is_let_in(pool: Pool) -> None:
    await begin(pool, b"1", NOW + DAY)
    await sessions.add_code(pool, b"code", "a", NOW + DAY)

    async def take() -> str | None:
        async with pool.transaction() as tx:
            return await sessions.take_code(tx, b"code", NOW)

    taken = await asyncio.gather(*(take() for _ in range(5)))

    assert sorted(map(str, taken)) == ["None"] * 4 + ["a"]


async def test_revoking_a_key_ends_its_sessions_and_codes_and_no_others(pool: Pool) -> None:
    await begin(pool, b"1", NOW + DAY)
    await begin(pool, b"2", NOW + DAY, key_id="b")
    await sessions.add_code(pool, b"3", "a", NOW + DAY)
    await sessions.add_code(pool, b"4", "b", NOW + DAY)

    await sessions.end_all(pool, "a")

    assert await left(pool) == [b"2", b"4"]


async def test_of_one_key_the_sessions_and_codes_that_end_first_go(pool: Pool) -> None:
    for number in range(sessions.MOST_OF_A_KEY + 2):
        ends_at = NOW + DAY + timedelta(seconds=number)
        await begin(pool, bytes([0, number]), ends_at)
        await sessions.add_code(pool, bytes([1, number]), "a", ends_at)

    kept = [bytes([kind, n]) for kind in (0, 1) for n in range(2, sessions.MOST_OF_A_KEY + 2)]
    assert await left(pool) == kept


async def test_what_has_ended_is_pruned_a_day_later(pool: Pool) -> None:
    for digest, ends_at in ((b"1", NOW - 2 * DAY), (b"2", NOW - DAY / 2), (b"3", NOW + DAY)):
        await begin(pool, digest, ends_at)
        await sessions.add_code(pool, b"c" + digest, "a", ends_at)
    one = Pruner(pool.transaction, {}, RetentionSettings(_env_file=None), lambda _: None)

    while await one.step():
        pass

    assert await left(pool) == [b"2", b"3", b"c2", b"c3"]
