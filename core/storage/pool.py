"""PostgreSQL connections with limits, and asyncpg's errors in the project's words."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from core.addresses import secrets_of
from core.errors import ConfigurationError, DatabaseAway, PhotoTaggerError, RecordRefused
from core.settings import DatabaseSettings
from core.transaction import Transaction

RELEASE_TIMEOUT_S = 2.0
#: SQLSTATE classes caused by values: data exception, integrity, program limit (index row).
_REFUSED_CLASSES = ("22", "23", "54")
#: Classes caused by the situation: connection, rollback, resources, not in state, operator, system.
_AWAY_CLASSES = ("08", "25", "40", "53", "55", "57", "58", "XX")
#: Classes caused by settings: authorization, catalog name.
_SETTINGS_CLASSES = ("28", "3D")
_NO_RIGHT = "42501"  # of the role, to a table or a schema
#: A table or a column that we ask for is not there; other codes of class 42 are bugs of ours.
_SCHEMA_STATES = ("42P01", "42703")
_OUTAGES = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # neither a PostgresError nor an InterfaceError (0.32)
    OSError,
    TimeoutError,
    EOFError,  # asyncio.IncompleteReadError
)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits that no operator has had to change; they fence a process that was stopped.

    Attributes:
        connect_s: until a connection stands.
        lock_s: for a row or table that another transaction holds.
        idle_s: a process that was stopped inside a transaction loses its row locks after it.
        transaction_s: a whole transaction (PostgreSQL 17 and up). Longer than a batch's own
            deadline, so that the process learns first that it failed.
    """

    connect_s: float = 5.0
    lock_s: float = 5.0
    idle_s: float = 5.0
    transaction_s: float = 20.0


TIME_LIMITS = TimeLimits()


class Pool:
    """Connections to one database; asyncpg's errors are translated here and nowhere else.

    Args:
        inner: asyncpg's.
        acquire_timeout_s: for a connection.
        turn: entered around each use of a connection; who has many uses at once may wait there.
    """

    def __init__(
        self,
        inner: "asyncpg.Pool[asyncpg.Record]",
        acquire_timeout_s: float,
        turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._inner = inner
        self._acquire_timeout_s = acquire_timeout_s
        self._turn = turn

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        """A connection outside a transaction: each statement is its own.

        Raises:
            DatabaseAway: PostgreSQL is away, did not answer in time, or gave up on a lock.
            RecordRefused: PostgreSQL refuses a value; the message is PostgreSQL's.
            ConfigurationError: DATABASE_URL is refused, or the schema is missing or old.
        """
        async with self._borrowed() as connection:
            yield connection

    @asynccontextmanager
    async def _borrowed(self) -> "AsyncIterator[PoolConnectionProxy[asyncpg.Record]]":
        async with self._turn():
            connection = await self._acquire()
            try:
                yield connection
            except BaseException as error:
                await self._put_back(connection, error)
                raise _translated(error) from error
            await self._put_back(connection, None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """An open transaction: committed at the end of the block, rolled back by any error.

        When it raises `DatabaseAway` the commit may or may not have happened: look before trying
        again. Raises as `connection` does; an error that is not the database's passes as it is.
        """
        async with self._borrowed() as connection, connection.transaction():
            yield connection

    async def execute(self, query: str, *args: Any) -> str:
        """Run one statement in its own transaction; give its command tag."""
        async with self.connection() as connection:
            return await connection.execute(query, *args)

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        """Run one statement once per row of arguments, all in one transaction."""
        async with self.connection() as connection:
            await connection.executemany(command, args)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Return all rows of one statement."""
        async with self.connection() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        """Return the first row of one statement, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *args)

    async def _acquire(self) -> "PoolConnectionProxy[asyncpg.Record]":
        # The wait for a free connection and the connect are limited together.
        try:
            async with asyncio.timeout(self._acquire_timeout_s):
                return await self._inner.acquire()
        except Exception as error:
            raise _translated(error) from error

    async def _put_back(
        self, connection: "PoolConnectionProxy[asyncpg.Record]", error: BaseException | None
    ) -> None:
        """Release a connection; it is closed after any error but a refused value.

        After a kill of PostgreSQL asyncpg may be left in the middle of another operation
        (`InternalClientError`), and the pool would hand that connection out again.
        """
        try:
            if error is not None and not _is_clean(error, connection):
                connection.terminate()
            await self._inner.release(connection, timeout=RELEASE_TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError, TimeoutError):
            connection.terminate()
        except asyncpg.InterfaceError:
            pass  # the pool has taken it back by itself: the server had closed it


@asynccontextmanager
async def open_pool(
    settings: DatabaseSettings,
    *,
    application: str = "photo-archive",
    limits: TimeLimits = TIME_LIMITS,
    turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> AsyncIterator[Pool]:
    """Return a pool. It connects when first used, so PostgreSQL may be away at the start.

    The limits fence a stopped process: one that wakes up inside a transaction finds it ended
    (docs/research/runtime.md, section 2.5).

    Raises:
        ConfigurationError: DATABASE_URL is not a PostgreSQL address.
    """
    try:
        inner = await asyncpg.create_pool(
            settings.url.get_secret_value(),
            min_size=0,
            max_size=settings.pool_size,
            timeout=limits.connect_s,
            command_timeout=settings.command_timeout_s,
            init=_limit_transactions(limits.transaction_s),
            # The default reset costs a round trip per release and would undo what init set;
            # nothing here leaves session state behind (SET LOCAL only).
            reset=_keep_session,
            server_settings={
                "application_name": application,
                "idle_in_transaction_session_timeout": _ms(limits.idle_s),
                "lock_timeout": _ms(limits.lock_s),
                "statement_timeout": _ms(settings.command_timeout_s),
                "timezone": "UTC",
            },
        )
    except (ValueError, asyncpg.InterfaceError) as error:
        raise _wrong_url(settings, error) from None
    try:
        yield Pool(inner, limits.connect_s + settings.command_timeout_s, turn)
    finally:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await inner.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            inner.terminate()


async def connect(settings: DatabaseSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """Return one connection without limits on its statements, for migrations: yours to close.

    Raises:
        ConfigurationError: DATABASE_URL is no address, or PostgreSQL refuses its user or database.
        DatabaseAway: PostgreSQL is away.
    """
    try:
        return await asyncpg.connect(settings.url.get_secret_value(), timeout=TIME_LIMITS.connect_s)
    except ValueError as error:
        raise _wrong_url(settings, error) from None
    except Exception as error:
        raise _translated(error) from error


@asynccontextmanager
async def alone(settings: DatabaseSettings) -> AsyncIterator[Transaction]:
    """One connection without limits on its statements, for backups, closed at the end of the block.

    Raises:
        ConfigurationError: DATABASE_URL is no address, or PostgreSQL refuses its user or database.
        DatabaseAway: PostgreSQL is away, or went away.
    """
    connection = await connect(settings)
    try:
        yield connection
    except Exception as error:
        raise _translated(error) from error
    finally:
        connection.terminate() if connection.is_closed() else await connection.close(timeout=5)


def _wrong_url(settings: DatabaseSettings, error: Exception) -> ConfigurationError:
    """Return the error for a URL that asyncpg refuses, in its words without the password."""
    said = str(error)
    for secret in secrets_of(settings.url.get_secret_value()):
        said = said.replace(secret, "…")
    return ConfigurationError(f"DATABASE_URL: {said}")


def _limit_transactions(limit_s: float) -> Any:
    async def init(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        if connection.get_server_version().major >= 17:
            await connection.execute(f"SET transaction_timeout = {_ms(limit_s)}")

    return init


async def _keep_session(_connection: Any) -> None:
    """Nothing to reset."""


def _ms(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def _is_clean(error: BaseException, connection: "PoolConnectionProxy[asyncpg.Record]") -> bool:
    """Return whether the connection is outside a transaction and in sync with the server."""
    if isinstance(error, asyncio.CancelledError) or connection.is_closed():
        return False
    if isinstance(error, asyncpg.PostgresError):
        sane = error.sqlstate is not None and error.sqlstate[:2] not in _AWAY_CLASSES
    else:
        sane = isinstance(error, ValueError | PhotoTaggerError)  # an argument not encoded
    return sane and not connection.is_in_transaction()


def _translated(error: BaseException) -> BaseException:
    """The project's error for what asyncpg raised; anything else as it is."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, asyncpg.PostgresError):
        return _by_class(error, (error.sqlstate or "XX")[:2], text)
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return ConfigurationError(f"DATABASE_URL: {text}")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return RecordRefused(text)  # asyncpg's own DataError: an argument it cannot encode
    if isinstance(error, _OUTAGES):
        return DatabaseAway(text)
    return error


def _by_class(error: asyncpg.PostgresError, kind: str, text: str) -> BaseException:
    if kind in _REFUSED_CLASSES:
        return RecordRefused(text)
    if error.sqlstate in _SCHEMA_STATES:
        return ConfigurationError(
            f"DATABASE_URL: the schema is not that of this version ({text}):"
            " run `photo-archive migrate`"
        )
    if kind in _SETTINGS_CLASSES or error.sqlstate == _NO_RIGHT:
        return ConfigurationError(f"DATABASE_URL: {text}")
    return DatabaseAway(text) if kind in _AWAY_CLASSES else error
