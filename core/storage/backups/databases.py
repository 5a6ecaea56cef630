"""Databases of one server: made beside the archive's own, and put into its place in one step."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, unquote

from pydantic import SecretStr

from core.errors import ConfigurationError
from core.settings import DatabaseSettings
from core.storage.connecting import alone, connect
from core.storage.locks import RESTORING
from core.transaction import Transaction

#: From here other databases are made and renamed: nobody may be connected to these themselves.
MAINTENANCE = "postgres"

_TABLES = """
SELECT count(*) FROM pg_class
WHERE relkind IN ('r', 'v', 'm') AND relnamespace = current_schema()::regnamespace
"""
_USERS = """
SELECT coalesce(string_agg(DISTINCT coalesce(nullif(application_name, ''), usename), ', '), '')
FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND usename = current_user
"""
_TURN = "SELECT pg_try_advisory_lock($1, hashtext($2))"
#: PostgreSQL cuts longer names without an error.
_MOST_BYTES = 63
_EXISTS = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
_MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"


def named(settings: DatabaseSettings) -> str:
    """Return the name of the database that DATABASE_URL leads to.

    Raises:
        ConfigurationError: it names none.
    """
    _, name, _ = _parts(settings)
    if not name:
        raise ConfigurationError("DATABASE_URL: it names no database: write …/NAME behind the host")
    return unquote(name)


def longer(settings: DatabaseSettings, ending: str) -> str:
    """Return the database's name with this ending.

    Raises:
        ConfigurationError: PostgreSQL would cut it, and take it for another one.
    """
    name = f"{named(settings)}{ending}"
    if len(name.encode()) > _MOST_BYTES:
        raise ConfigurationError(
            f"DATABASE_URL: PostgreSQL takes names of {_MOST_BYTES} bytes, and {name}, beside which"
            " nothing may be mistaken for it, is longer: give the database a shorter name"
        )
    return name


def beside(settings: DatabaseSettings, name: str) -> DatabaseSettings:
    """Return the settings that lead to another database of the same server."""
    before, _, query = _parts(settings)
    url = f"{before}/{quote(name, safe='')}{query}"
    return settings.model_copy(update={"url": SecretStr(url)})


def _parts(settings: DatabaseSettings) -> tuple[str, str, str]:
    """Return a URL's part before the database, the database, and the query with its `?`.

    Not urlsplit: it refuses several hosts of which a later one is [IPv6].
    """
    url, mark, query = settings.url.get_secret_value().partition("?")
    scheme, _, rest = url.partition("://")
    hosts, _, name = rest.partition("/")
    return f"{scheme}://{hosts}", name, f"{mark}{query}"


@asynccontextmanager
async def alone_here(settings: DatabaseSettings) -> AsyncIterator[None]:
    """Keep others from restoring into this database for as long as the block runs.

    Raises:
        ConfigurationError: somebody does already.
    """
    connection = await connect(beside(settings, MAINTENANCE))
    try:
        await connection.execute("SET idle_session_timeout = 0")
        if not await connection.fetchval(_TURN, RESTORING, named(settings)):
            raise ConfigurationError(
                f"another `restore` into the database {named(settings)} is under way"
            )
        yield
    finally:
        connection.terminate()


async def is_there(settings: DatabaseSettings) -> bool:
    """Return whether the database exists."""
    async with alone(beside(settings, MAINTENANCE)) as connection:
        return bool(await connection.fetchval(_EXISTS, named(settings)))


async def has_tables(settings: DatabaseSettings) -> bool:
    """Return whether anything is in the database."""
    async with alone(settings) as connection:
        return bool(await connection.fetchval(_TABLES))


async def version(settings: DatabaseSettings) -> int:
    """Return the major version of the server."""
    async with alone(beside(settings, MAINTENANCE)) as connection:
        found = await connection.fetchval("SHOW server_version_num")
    return int(found) // 10_000


async def check_unused(settings: DatabaseSettings) -> None:
    """Raise if anybody is connected to the database.

    Raises:
        ConfigurationError: somebody is; the message says who.
    """
    async with alone(beside(settings, MAINTENANCE)) as connection:
        users = await connection.fetchval(_USERS, named(settings))
    if users:
        raise ConfigurationError(
            f"the archive runs: {users} are connected to its database {named(settings)}; stop them"
            " first"
        )


async def make(settings: DatabaseSettings) -> None:
    """Make this database, empty, with pgvector.

    Raises:
        ConfigurationError: the role may not, or the server has no pgvector.
    """
    name = named(settings)
    async with alone(beside(settings, MAINTENANCE)) as connection:
        if not await connection.fetchval(_MAY_CREATE):
            raise ConfigurationError(
                "DATABASE_URL: its role may not make a database to restore into: let a superuser"
                " run `ALTER ROLE … CREATEDB`, until the restore is done"
            )
        await connection.execute(f"CREATE DATABASE {_quoted(name)} ENCODING 'UTF8'")
    try:
        async with alone(settings) as connection:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except ConfigurationError as error:
        await drop(settings)
        raise ConfigurationError(
            "DATABASE_URL: its role may not create the extension pgvector: let a superuser run"
            " `CREATE EXTENSION vector` in the database template1, then try again"
        ) from error
    except BaseException:
        await drop(settings)
        raise


async def drop(settings: DatabaseSettings) -> None:
    """Drop this database, if it is there."""
    async with alone(beside(settings, MAINTENANCE)) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(named(settings))}")


async def drop_unfinished(settings: DatabaseSettings) -> None:
    """Drop a database that a restore makes, if it is there.

    The programs of a restore that was killed live on and are connected to it: they are ended.
    """
    name = named(settings)
    async with alone(beside(settings, MAINTENANCE)) as connection:
        if await connection.fetchval(_EXISTS, name):
            await connection.execute(f"ALTER DATABASE {_quoted(name)} ALLOW_CONNECTIONS false")
            await connection.execute(_END_SESSIONS, name)
            await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}")


async def put_in_place(new: DatabaseSettings, place: DatabaseSettings, *, keep: str) -> None:
    """Put a database under the name of another one, which keeps its rows under the name `keep`.

    Args:
        new: the database.
        place: whose name it gets.
        keep: the other one's name from now on; empty: there is none.
    """
    async with alone(beside(place, MAINTENANCE)) as connection:
        await connection.execute("BEGIN")  # both or none: who dies here leaves what was there
        if keep:
            await _rename(connection, named(place), keep)
        await _rename(connection, named(new), named(place))
        await connection.execute("COMMIT")


async def _rename(connection: Transaction, name: str, wanted: str) -> None:
    await connection.execute(f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(wanted)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
