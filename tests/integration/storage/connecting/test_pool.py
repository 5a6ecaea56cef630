"""The pool: limits on the connections, and asyncpg's errors in the project's words."""

import asyncio

import asyncpg
import pytest

from core.errors import ConfigurationError, DatabaseAway, RecordRefused
from core.settings import DatabaseSettings
from core.storage.connecting import TimeLimits
from core.storage.pool import Pool, open_pool


@pytest.mark.parametrize(
    ("query", "argument"),
    [
        ("SELECT $1::text", "nul\x00"),
        ("SELECT $1::text", "\ud800"),
        ("SELECT $1::int4", 2**40),
        ("SELECT $1::int4", "seven"),
        ('SELECT (\'{"a": "\\u0000"}\'::jsonb) || to_jsonb($1::text)', "x"),
        ("SELECT 1 / $1::int4", 0),
        ("INSERT INTO outbox_places VALUES (NULL, $1, 1, 1)", "t"),
    ],
)
async def test_what_postgresql_refuses_blames_the_record(
    pool: Pool, query: str, argument: object
) -> None:
    with pytest.raises(RecordRefused):
        await pool.fetchval(query, argument)
    assert await pool.fetchval("SELECT 1") == 1


async def test_a_refused_value_rolls_the_transaction_back(pool: Pool) -> None:
    with pytest.raises(RecordRefused):  # noqa: PT012  # the error comes out of the block's end
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO outbox_places VALUES (1, 't', 1, 1)")
            await tx.execute("SELECT 1 / 0")
    assert await pool.fetchval("SELECT count(*) FROM outbox_places") == 0


@pytest.mark.parametrize(
    "query", ["SELECT 1 FROM no_such_table", "SELECT no_such_column FROM images"]
)
async def test_a_schema_that_is_missing_or_old_names_the_command(pool: Pool, query: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no_such_.*run `photo-archive migrate`"):
        await pool.fetch(query)


async def test_wrong_sql_is_a_bug_and_not_a_matter_of_settings(pool: Pool) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await pool.fetch("SELEC 1")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await pool.fetch("SELECT no_such_function()")


async def test_a_bug_in_the_block_passes_as_it_is_and_rolls_back(pool: Pool) -> None:
    with pytest.raises(KeyError):  # noqa: PT012  # the error comes out of the block's end
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO outbox_places VALUES (1, 't', 1, 1)")
            raise KeyError("bug")
    assert await pool.fetchval("SELECT count(*) FROM outbox_places") == 0


async def test_a_connection_that_the_server_ended_is_an_outage_and_is_not_used_again(
    pool: Pool,
) -> None:
    with pytest.raises(DatabaseAway):
        async with pool.transaction() as tx:
            await tx.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    for _ in range(10):
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_transaction_left_idle_is_ended_by_the_server(database_url: str) -> None:
    impatient = TimeLimits(idle_s=0.2)
    async with open_pool(DatabaseSettings(url=database_url), limits=impatient) as pool:
        with pytest.raises(DatabaseAway):  # noqa: PT012  # the error comes out of the block's end
            async with pool.transaction() as tx:
                await tx.execute("SELECT 1")
                await asyncio.sleep(0.6)  # a process stopped in the middle looks like this
                await tx.execute("SELECT 1")


async def test_waiting_for_a_lock_is_limited(database_url: str) -> None:
    settings = DatabaseSettings(url=database_url)
    limits = TimeLimits(lock_s=0.2)
    async with open_pool(settings, limits=limits) as pool, pool.transaction() as holder:
        await holder.execute("LOCK TABLE outbox_places")
        with pytest.raises(DatabaseAway, match="lock"):
            await pool.execute("INSERT INTO outbox_places VALUES (1, 't', 1, 1)")


async def test_limits_are_still_set_when_a_connection_is_used_again(pool: Pool) -> None:
    for _ in range(3):
        assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
        assert await pool.fetchval("SHOW transaction_timeout") == "20s"


async def test_nobody_there_is_an_outage_and_a_wrong_password_a_wrong_setting(
    database_url: str,
) -> None:
    async with open_pool(DatabaseSettings(url="postgresql://app@127.0.0.1:1/x")) as pool:
        with pytest.raises(DatabaseAway):
            await pool.fetchval("SELECT 1")
    server = database_url.rpartition("/")[0]
    async with open_pool(DatabaseSettings(url=f"{server}/no_such_database")) as pool:
        with pytest.raises(ConfigurationError, match="DATABASE_URL"):
            await pool.fetchval("SELECT 1")


async def test_no_free_connection_in_time_is_an_outage(database_url: str) -> None:
    settings = DatabaseSettings(url=database_url, pool_size=2)
    async with open_pool(settings) as pool, pool.connection(), pool.connection():
        with pytest.raises(DatabaseAway):
            await Pool(pool._inner, acquire_timeout_s=0.5).fetchval("SELECT 1")
