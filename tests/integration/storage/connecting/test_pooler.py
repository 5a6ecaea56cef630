"""A pooler between the archive and PostgreSQL: either every limit holds, or the process ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from core.errors import ConfigurationError, DatabaseAway
from core.settings import DatabaseSettings
from core.storage.connecting import TimeLimits
from core.storage.pool import Pool, open_pool
from tests.pgbouncer import running_pgbouncer

ROOT = Path(__file__).parents[3]
LIMITS = (
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "statement_timeout",
    "transaction_timeout",
)
#: What operators set when they read `unsupported startup parameter`.
ALL_IGNORED = f"extra_float_digits, {', '.join(LIMITS)}"


@pytest.fixture
def pooler_url(database_url: str) -> Iterator[str]:
    """Yield the test's database through PgBouncer, in transaction mode."""
    with running_pgbouncer(database_url) as url:
        yield url


def pooled(database_url: str, pooler_url: str) -> DatabaseSettings:
    """Return the settings of an archive behind a pooler."""
    return DatabaseSettings(url=SecretStr(database_url), pooler_url=SecretStr(pooler_url))


async def test_each_transaction_through_a_pooler_has_all_limits(
    database_url: str, pooler_url: str
) -> None:
    async with open_pool(pooled(database_url, pooler_url)) as pool:
        for _ in range(3):
            async with pool.transaction() as tx:
                shown = [await tx.fetchval(f"SHOW {name}") for name in LIMITS]

            assert shown == ["5s", "5s", "10s", "20s"]


async def test_the_limits_of_one_do_not_reach_another_client_of_the_pooler(
    database_url: str, pooler_url: str
) -> None:
    """A session's parameter would stay on the connection that the pooler hands to anybody."""
    async with open_pool(pooled(database_url, pooler_url)) as pool:
        for _ in range(20):
            async with pool.transaction() as tx:
                await tx.execute("SELECT 1")
    other = await asyncpg.connect(pooler_url, statement_cache_size=0)
    try:
        assert [await other.fetchval(f"SHOW {name}") for name in LIMITS] == ["0"] * 4
    finally:
        await other.close()


async def test_many_at_once_through_a_pooler_never_meet_each_others_statements(
    database_url: str, pooler_url: str
) -> None:
    async def ask(pool: Pool, number: int) -> None:
        assert await pool.fetchval(f"SELECT $1::int4 + {number}", number) == 2 * number
        async with pool.transaction() as tx:
            assert await tx.fetchval(f"SELECT $1::int8 * {number}", number) == number**2

    settings = pooled(database_url, pooler_url)
    async with open_pool(settings) as one, open_pool(settings) as two:
        await asyncio.gather(*(ask(pool, n) for n in range(200) for pool in (one, two)))


async def test_a_promotion_behind_a_pooler_ends_who_remembers_more(
    database_url: str, pooler_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pooler keeps our connection while it opens another one to the server."""
    async with open_pool(pooled(database_url, pooler_url)) as pool:
        async with pool.transaction() as tx:
            await tx.execute("UPDATE promotions SET timeline = timeline + 100")
        with monkeypatch.context() as patch:
            signals: list[int] = []
            patch.setattr("core.storage.history.os.kill", lambda _, number: signals.append(number))
            for _ in range(2):
                with pytest.raises(DatabaseAway, match="this process ends"):
                    async with pool.transaction():
                        pytest.fail("nothing is done any more")
        assert signals == [signal.SIGTERM]
    async with open_pool(pooled(database_url, pooler_url)) as again, again.transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM promotions") == 2


async def test_a_transaction_that_is_left_idle_behind_a_pooler_is_ended(
    database_url: str, pooler_url: str
) -> None:
    settings = pooled(database_url, pooler_url)
    async with open_pool(settings, limits=TimeLimits(idle_s=0.2)) as pool:
        with pytest.raises(DatabaseAway):  # noqa: PT012  # the error comes out of the block's end
            async with pool.transaction() as tx:
                await tx.execute("SELECT 1")
                await asyncio.sleep(1)  # a process stopped in the middle looks like this
                await tx.execute("SELECT 1")
        assert await pool.fetchval("SELECT 1") == 1


async def test_waiting_for_a_lock_behind_a_pooler_is_limited(
    database_url: str, pooler_url: str
) -> None:
    settings = pooled(database_url, pooler_url)
    async with (
        open_pool(settings, limits=TimeLimits(lock_s=0.2)) as pool,
        pool.transaction() as holder,
    ):
        await holder.execute("LOCK TABLE outbox_places")
        with pytest.raises(DatabaseAway, match="lock"):
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO outbox_places VALUES (1, 't', 1, 1)")


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("ignored", ["extra_float_digits", ALL_IGNORED])
async def test_a_pooler_that_nobody_told_us_of_is_refused(
    database_url: str, mode: str, ignored: str
) -> None:
    with running_pgbouncer(database_url, mode=mode, ignored=ignored) as url:
        async with open_pool(DatabaseSettings(url=SecretStr(url))) as pool:
            with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: .*DATABASE_POOLER_URL"):
                await pool.fetchval("SELECT 1")


async def test_a_pooler_of_single_statements_is_refused(database_url: str) -> None:
    with running_pgbouncer(database_url, mode="statement") as url:
        async with open_pool(pooled(database_url, url)) as pool:
            with pytest.raises(ConfigurationError, match=r"^DATABASE_POOLER_URL: "):
                await pool.fetchval("SELECT 1")


async def test_a_pooler_whose_server_is_away_is_an_outage(database_url: str) -> None:
    nobody = database_url.rpartition("@")[0] + "@127.0.0.1:1/x"
    with running_pgbouncer(nobody) as url:
        async with open_pool(pooled(database_url, url)) as pool:
            with pytest.raises(DatabaseAway):
                await pool.fetchval("SELECT 1")


def test_migrations_go_past_the_pooler_and_refuse_one(
    empty_database_url: str,
) -> None:
    with running_pgbouncer(empty_database_url) as pooler_url:
        past = migrate(DATABASE_URL=empty_database_url, DATABASE_POOLER_URL=pooler_url)
        through = migrate(DATABASE_URL=pooler_url)

    assert past.returncode == 0, past.stderr
    assert through.returncode == 2, through.stderr
    assert through.stderr.startswith("configuration: DATABASE_URL: ")
    assert "DATABASE_POOLER_URL" in through.stderr


def test_a_process_behind_a_pooler_that_drops_the_limits_says_so_and_ends(
    database_url: str, tmp_path: Path
) -> None:
    with running_pgbouncer(database_url, ignored=ALL_IGNORED) as url:
        done = subprocess.run(
            [sys.executable, "-m", "consumers", "query"],
            cwd=ROOT,
            env=os.environ
            | {
                "DATABASE_URL": url,
                "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
                "SECRETS_KEY": "k" * 43 + "=",
                "TELEMETRY_METRICS_PORT": "0",
                "ARCHIVE_ROOTS": f"photos={tmp_path}",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 2, done.stderr[-2000:]
    assert "DATABASE_POOLER_URL" in done.stderr
    assert "Traceback" not in done.stderr


def migrate(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Bring the schema up to date."""
    return subprocess.run(
        [sys.executable, "-m", "migrations", "schema"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
