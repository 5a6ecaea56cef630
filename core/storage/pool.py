"""The pool of connections to PostgreSQL: one use at a time, whatever went wrong before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from core.errors import PhotoTaggerError
from core.settings import DatabaseSettings
from core.storage.connecting import TIME_LIMITS, TimeLimits, roles_servers
from core.storage.translating import AWAY_CLASSES, translated
from core.transaction import Transaction

RELEASE_TIMEOUT_S = 2.0


class Pool:
    """Connections to one database; what asyncpg raises comes out in the project's words.

    Args:
        inner: asyncpg's.
        acquire_timeout_s: for a connection.
        turn: entered around each use of a connection; who has many uses at once may wait there.
        opening: a statement that each transaction begins with; empty: none.
        look: is called with each transaction that has an opening.
    """

    def __init__(
        self,
        inner: "asyncpg.Pool[asyncpg.Record]",
        acquire_timeout_s: float,
        turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        opening: str = "",
        look: Callable[[Transaction], Awaitable[None]] | None = None,
    ) -> None:
        self._inner = inner
        self._look = look
        self._opening = opening
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
                raise translated(error) from error
            await self._put_back(connection, None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """An open transaction: committed at the end of the block, rolled back by any error.

        When it raises `DatabaseAway` the commit may or may not have happened: look before trying
        again. Raises as `connection` does; an error that is not the database's passes as it is.
        """
        async with self._borrowed() as connection, connection.transaction():
            if self._opening:
                await connection.execute(self._opening)
                if self._look is not None:
                    await self._look(connection)
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
            raise translated(error) from error

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
    (docs/research/runtime.md, section 2.5). Each new connection is checked for them; what is wrong
    with an address is raised when the pool is first used.
    """
    servers, opening = roles_servers(settings, limits)
    inner = await asyncpg.create_pool(
        connect=servers.connect,
        min_size=0,
        max_size=settings.pool_size,
        command_timeout=settings.command_timeout_s,
        # The default reset costs a round trip per release and would undo the limits; nothing here
        # leaves session state behind (SET LOCAL only).
        reset=_keep_session,
        server_settings={"application_name": application, "timezone": "UTC"},
    )
    try:
        yield Pool(
            inner, limits.connect_s + settings.command_timeout_s, turn, opening, servers.look_again
        )
    finally:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await inner.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            inner.terminate()


async def _keep_session(_connection: Any) -> None:
    """Nothing to reset."""


def _is_clean(error: BaseException, connection: "PoolConnectionProxy[asyncpg.Record]") -> bool:
    """Return whether the connection is outside a transaction and in sync with the server."""
    if isinstance(error, asyncio.CancelledError) or connection.is_closed():
        return False
    if isinstance(error, asyncpg.PostgresError):
        sane = error.sqlstate is not None and error.sqlstate[:2] not in AWAY_CLASSES
    else:
        sane = isinstance(error, ValueError | PhotoTaggerError)  # an argument not encoded
    return sane and not connection.is_in_transaction()
