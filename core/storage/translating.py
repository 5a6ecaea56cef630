"""asyncpg's errors in the project's words: translated here and nowhere else."""

import re

import asyncpg

from core.errors import ConfigurationError, DatabaseAway, RecordRefused

#: SQLSTATE classes caused by values: data exception, integrity, program limit (index row).
_REFUSED_CLASSES = ("22", "23", "54")
#: Classes caused by the situation: connection, rollback, resources, not in state, operator, system.
AWAY_CLASSES = ("08", "25", "40", "53", "55", "57", "58", "XX")
#: Classes caused by settings: authorization, catalog name.
_SETTINGS_CLASSES = ("28", "3D")
_NO_RIGHT = "42501"  # of the role, to a table or a schema
#: A table or a column that we ask for is not there; other codes of class 42 are bugs of ours.
_SCHEMA_STATES = ("42P01", "42703")
#: PgBouncer has one code, 08P01, for an outage and for what only a setting mends (1.18 to 1.24).
_OF_A_POOLER = re.compile(r"startup parameter|statement pooling|no such (database|user)")
_OUTAGES = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # neither a PostgresError nor an InterfaceError (0.32)
    OSError,
    TimeoutError,
    EOFError,  # asyncio.IncompleteReadError
)


def translated(error: BaseException, variable: str = "DATABASE_URL") -> BaseException:
    """Return the project's error for what asyncpg raised; anything else as it is.

    Args:
        error: what was raised.
        variable: the setting that is to blame where a setting is.
    """
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, asyncpg.PostgresError):
        return _by_class(error, text, variable)
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return ConfigurationError(f"{variable}: {text}")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return RecordRefused(text)  # asyncpg's own DataError: an argument it cannot encode
    if isinstance(error, _OUTAGES):
        return DatabaseAway(text)
    return error


def _by_class(error: asyncpg.PostgresError, text: str, variable: str) -> BaseException:
    kind = (error.sqlstate or "XX")[:2]
    if kind in _REFUSED_CLASSES:
        return RecordRefused(text)
    if error.sqlstate in _SCHEMA_STATES:
        return ConfigurationError(
            f"DATABASE_URL: the schema is not that of this version ({text}):"
            " run `photo-archive migrate`"
        )
    if kind in _SETTINGS_CLASSES or error.sqlstate == _NO_RIGHT:
        return ConfigurationError(f"{variable}: {text}")
    if kind == "08" and _OF_A_POOLER.search(text):
        return ConfigurationError(
            f"{variable}: {text}: a pooler must pool transactions (not statements), and its address"
            " is DATABASE_POOLER_URL"
        )
    return DatabaseAway(text) if kind in AWAY_CLASSES else error
