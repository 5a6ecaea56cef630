"""Connections to the PostgreSQL that takes writes, with time limits that hold (decision 0045)."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from core.addresses import each_host, secrets_of
from core.errors import ConfigurationError, DatabaseAway, DatabaseReadOnly, PhotoTaggerError
from core.settings import DatabaseSettings
from core.storage.history import History
from core.storage.translating import translated
from core.transaction import Transaction

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

#: `pid` is compared with the number that the connection was given: a pooler gives its own.
_CHECK = """
SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only')::bool AS is_read_only,
    (SELECT jsonb_object_agg(name, 1000 * extract(epoch FROM current_setting(name)::interval))::text
        FROM unnest($1::text[]) AS name) AS limits_ms,
    to_regprocedure('note_promotion()') IS NOT NULL AS has_schema
"""
_NOTE_PROMOTION = "SELECT note_promotion()"
_NOTE_AGAIN = "SELECT note_promotion() WHERE NOT pg_is_in_recovery()"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits that no operator has had to change; they fence a process that was stopped.

    Attributes:
        connect_s: until a connection stands; hosts share it.
        lock_s: for a row or table that another transaction holds.
        idle_s: a process that was stopped inside a transaction loses its row locks after it.
        transaction_s: a whole transaction. Longer than a batch's own deadline, so that the
            process learns first that it failed.
    """

    connect_s: float = 5.0
    lock_s: float = 5.0
    idle_s: float = 5.0
    transaction_s: float = 20.0

    def parameters(self, statement_s: float) -> dict[str, int]:
        """Return the server's parameters, in milliseconds."""
        seconds = {
            "idle_in_transaction_session_timeout": self.idle_s,
            "lock_timeout": self.lock_s,
            "statement_timeout": statement_s,
            "transaction_timeout": self.transaction_s,
        }
        return {name: max(1, round(limit_s * 1000)) for name, limit_s in seconds.items()}


TIME_LIMITS = TimeLimits()


class Servers:
    """The hosts of one address, of which the one that took the last connection is tried first.

    Args:
        variable: the setting that holds the address.
        url: the address; several hosts are separated by commas.
        connect_s: the time that all hosts have together: one that does not answer at all must
            leave some for the next.
        limits_ms: the server's parameters that must hold; set here for the session, unless pooled.
        opening: what each transaction begins with, where a pooler stands between; else empty.
    """

    def __init__(
        self,
        variable: str,
        url: str,
        *,
        connect_s: float,
        limits_ms: Mapping[str, int],
        opening: str = "",
    ) -> None:
        self._variable = variable
        self._urls = each_host(url)
        self._connect_s = connect_s
        self._limits_ms = limits_ms
        self._opening = opening
        self._history = History()

    async def connect(self, dsn: str | None = None, **options: Any) -> "Connection":
        """Return a connection to a server that takes writes.

        Args:
            dsn: of no use: asyncpg's pool, in which this is `connect`, passes one.
            options: those of `asyncpg.connect`.

        Raises:
            ConfigurationError: the address is refused, or the limits do not hold there.
            DatabaseReadOnly: all hosts answer, and none takes writes now.
            DatabaseAway: no host takes writes now.
        """
        del dsn
        failures: list[DatabaseAway] = []
        for url in self._urls:
            try:
                connection = await self._connect_one(url, options)
            except DatabaseAway as error:
                failures.append(error)
                continue
            self._urls = (url, *(other for other in self._urls if other != url))
            return connection
        is_read_only = all(isinstance(error, DatabaseReadOnly) for error in failures)
        kind = DatabaseReadOnly if is_read_only else DatabaseAway
        raise kind("; ".join(map(str, failures)))

    async def _connect_one(self, url: str, options: Mapping[str, Any]) -> "Connection":
        limit_s = self._connect_s / len(self._urls)
        try:
            connection: Connection = await asyncpg.connect(
                url, **(dict(options) | self._session(options) | {"timeout": limit_s})
            )
            try:
                await self._check(connection, limit_s)
            except BaseException:
                connection.terminate()
                raise
        except PhotoTaggerError:
            raise
        except ValueError as error:
            raise _wrong_url(self._variable, url, error) from None
        except asyncpg.UndefinedObjectError as error:  # transaction_timeout came with 17
            raise ConfigurationError(f"{self._variable}: PostgreSQL is too old: {error}") from error
        except Exception as error:
            raise translated(error, self._variable) from error
        return connection

    async def look_again(self, tx: Transaction) -> None:
        """Look in a transaction whether the server was promoted since its connection was opened.

        A pooler keeps those of its clients while the server behind it is replaced.

        Raises:
            DatabaseAway: it was, and has forgotten commits; this process ends.
        """
        if self._history.is_begun and (found := await tx.fetchrow(_NOTE_AGAIN)) is not None:
            self._history.compare(found[0])

    def _session(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that make a session ours, or do without one."""
        asked = dict(options.get("server_settings") or {})
        if self._opening:
            # Named statements and the session's parameters would be those of another client.
            return {"server_settings": asked, "statement_cache_size": 0}
        limits = {name: str(value) for name, value in self._limits_ms.items()}
        return {"server_settings": asked | limits}

    async def _check(self, connection: "Connection", limit_s: float) -> None:
        """Refuse a server that takes no writes, and one where a stopped process is not fenced."""
        async with connection.transaction() if self._opening else nullcontext():
            if self._opening:
                await connection.execute(self._opening)
            found = await connection.fetchrow(_CHECK, list(self._limits_ms), timeout=limit_s)
            if found is not None and found["has_schema"] and not found["is_read_only"]:
                self._history.compare(await connection.fetchval(_NOTE_PROMOTION, timeout=limit_s))
        if found is None or found["is_read_only"]:
            raise DatabaseReadOnly(
                "the server takes no writes: a standby, or closed by an operator"
            )
        if not self._opening and found["pid"] != connection.get_server_pid():
            raise ConfigurationError(
                f"{self._variable}: this is a pooler, which does not keep a session: set"
                " DATABASE_POOLER_URL to its address and DATABASE_URL to the server's own"
            )
        if missing := _differing(self._limits_ms, found["limits_ms"]):
            raise ConfigurationError(
                f"{self._variable}: the server does not keep our time limits"
                f" ({', '.join(missing)}): without them a process that hangs holds up all others"
            )


def roles_servers(settings: DatabaseSettings, limits: TimeLimits) -> tuple[Servers, str]:
    """Return the servers that roles use, and what each of their transactions begins with."""
    limits_ms = limits.parameters(settings.command_timeout_s)
    pooler = settings.pooler_url.get_secret_value()
    opening = "; ".join(f"SET LOCAL {name} = {ms}" for name, ms in limits_ms.items())
    servers = Servers(
        "DATABASE_POOLER_URL" if pooler else "DATABASE_URL",
        pooler or settings.url.get_secret_value(),
        connect_s=limits.connect_s,
        limits_ms=limits_ms,
        opening=opening if pooler else "",
    )
    return servers, opening if pooler else ""


async def connect(settings: DatabaseSettings) -> "Connection":
    """Return one connection to the server without limits on its statements: yours to close.

    It is for migrations, which hold a lock for the session: it goes past a pooler.

    Raises:
        ConfigurationError: DATABASE_URL is refused, or leads to a pooler.
        DatabaseAway: PostgreSQL is away.
    """
    url = settings.url.get_secret_value()
    servers = Servers("DATABASE_URL", url, connect_s=TIME_LIMITS.connect_s, limits_ms={})
    return await servers.connect()


@asynccontextmanager
async def alone(settings: DatabaseSettings) -> AsyncIterator[Transaction]:
    """One connection without limits on its statements, for backups, closed at the end of the block.

    Raises:
        ConfigurationError: DATABASE_URL is refused, or leads to a pooler.
        DatabaseAway: PostgreSQL is away, or went away.
    """
    connection = await connect(settings)
    try:
        yield connection
    except PhotoTaggerError:
        raise
    except Exception as error:
        raise translated(error, "DATABASE_URL") from error
    finally:
        connection.terminate() if connection.is_closed() else await connection.close(timeout=5)


def _differing(wanted: Mapping[str, int], found: str | None) -> list[str]:
    values = json.loads(found or "{}")
    return [
        f"{name} is {values.get(name):g} ms, not {ms} ms"
        for name, ms in wanted.items()
        if values.get(name) != ms
    ]


def _wrong_url(variable: str, url: str, error: Exception) -> ConfigurationError:
    """Return the error for a URL that asyncpg refuses, in its words without the password."""
    said = str(error)
    for secret in secrets_of(url):
        said = said.replace(secret, "…")
    return ConfigurationError(f"{variable}: {said}")
