"""Registered callback addresses: each with a signing secret of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from core.storage.delivery import interventions
from core.transaction import Transaction

MAX_PER_OWNER = 1000
REMOVED = "endpoint_removed"  # why webhooks were given up
_COLUMNS = "endpoint_id, owner, url, name, operator_events, created_at"
_ADD = f"""
INSERT INTO endpoints (endpoint_id, owner, url, name, operator_events) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (owner, url) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_LIST = f"""
SELECT {_COLUMNS} FROM endpoints WHERE $1::text IS NULL OR owner = $1
ORDER BY created_at, endpoint_id LIMIT {MAX_PER_OWNER}
"""  # noqa: S608 - constants
_FIND = "SELECT endpoint_id FROM endpoints WHERE owner = $1 AND url = $2"
_EXISTS = "SELECT EXISTS (SELECT FROM endpoints WHERE endpoint_id = $1)"
_REMOVE = f"""
DELETE FROM endpoints WHERE endpoint_id = $1 AND ($2::text IS NULL OR owner = $2)
RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_REMOVE_SECRETS = "DELETE FROM signing_secrets WHERE owner = $1"
_COUNT = "SELECT count(*) FROM endpoints WHERE owner = $1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registered callback address.

    Attributes:
        operator_events: it is told what happens to the archive itself.
    """

    endpoint_id: UUID
    owner: str
    url: str
    name: str
    operator_events: bool
    created_at: datetime

    @property
    def secrets_owner(self) -> str:
        """Under which name its signing secrets are kept."""
        return secrets_owner(self.endpoint_id)


@dataclass(frozen=True, slots=True)
class Removed:
    """An address that was forgotten, and how many of its webhooks were given up."""

    endpoint: Endpoint
    given_up: int


def secrets_owner(endpoint_id: UUID) -> str:
    """Return the name that an endpoint's secrets are kept under: no key's owner may have it."""
    return f"\tendpoint/{endpoint_id}"


async def add(
    tx: Transaction, *, owner: str, url: str, name: str, operator_events: bool = False
) -> Endpoint | None:
    """Register an address; None where the owner has it already."""
    row = await tx.fetchrow(_ADD, uuid4(), owner, url, name, operator_events)
    return None if row is None else Endpoint(**dict(row))


async def exists(connection: Transaction, endpoint_id: UUID) -> bool:
    """Tell whether an address is registered under this id."""
    return bool(await connection.fetchval(_EXISTS, endpoint_id))


async def remove(tx: Transaction, endpoint_id: UUID, *, owner: str | None) -> Removed | None:
    """Delete an address and its secrets; return None if unknown or of another owner than given.

    Its webhooks that wait are given up: they would go out with a signature that the receiver does
    not know. One that is under way comes to its end. Redelivery sends them again, signed with the
    owner's own secret.
    """
    row = await tx.fetchrow(_REMOVE, endpoint_id, owner)
    if row is None:
        return None
    gone = Endpoint(**dict(row))
    await tx.execute(_REMOVE_SECRETS, gone.secrets_owner)
    given_up = await interventions.give_up(tx, owner=gone.owner, url=gone.url, reason=REMOVED)
    return Removed(gone, given_up)


async def count(connection: Transaction, owner: str) -> int:
    """Return how many addresses an owner has."""
    return int(await connection.fetchval(_COUNT, owner))


async def list_all(connection: Transaction, owner: str | None) -> Sequence[Endpoint]:
    """Return an owner's addresses, or all, the oldest first; at most 1,000."""
    return tuple(Endpoint(**dict(row)) for row in await connection.fetch(_LIST, owner))


async def find(connection: Transaction, owner: str, url: str) -> UUID | None:
    """Return the id of an owner's address; None where it is not registered."""
    found: UUID | None = await connection.fetchval(_FIND, owner, url)
    return found
