"""Commands that create and end API keys, links to the page, signing secrets and endpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.errors import ConfigurationError, PermanentError
from core.settings import (
    ArchiveSettings,
    DatabaseSettings,
    IngressSettings,
    SecretSettings,
    base_url,
    load,
)
from core.storage import keys, sessions
from core.storage.delivery import endpoints
from core.storage.delivery.endpoints import Endpoint, Removed
from core.storage.keys import ApiKey, NewKey, SealedSecret
from core.storage.pool import open_pool
from core.transaction import Transaction
from core.webhooks.signing_secrets import SecretBox, make_secret
from ingress.auth.api_keys import Scope, make_key
from ingress.auth.sessions import code_digest, link_of, make_code

#: How long an old signing secret still signs beside the new one (Standard Webhooks: rotation).
ROTATION = timedelta(hours=24)
MAX_OWNER_CHARS = 200
RESEAL_PORTION = 200


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The key that is asked for."""

    owner: str
    name: str = ""
    scopes: tuple[Scope, ...] = (Scope.UPLOAD, Scope.QUERY, Scope.READ)
    lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """A new key; its text and secret cannot be read again later.

    Attributes:
        signing_secret: None where the owner has one already.
    """

    key: str
    key_id: str
    owner: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    signing_secret: str | None


async def create(wanted: KeyRequest, *, if_absent: bool) -> Created | None:
    """Make a key, and its owner's signing secret if there is none.

    Returns:
        None where `if_absent` holds and a usable key of this owner and name exists.

    Raises:
        ConfigurationError: `SECRETS_KEY` is not set.
        DatabaseAway: PostgreSQL is away.
    """
    box = SecretBox.from_settings(load(SecretSettings))
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await keys.lock_owner(tx, wanted.owner)
        if if_absent and await keys.has_usable(tx, wanted.owner, wanted.name):
            return None
        return await _create(tx, wanted, box)


async def list_keys(owner: str | None) -> tuple[ApiKey, ...]:
    """Return all keys, or those of one owner."""
    async with open_pool(load(DatabaseSettings)) as pool, pool.connection() as connection:
        return await keys.list_all(connection, owner)


async def revoke(key_id: str) -> bool:
    """Revoke a key, and end its sessions, in all processes within seconds.

    Returns:
        False where no such key is usable.
    """
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await sessions.end_all(tx, key_id)
        return await keys.revoke(tx, key_id)


@dataclass(frozen=True, slots=True)
class OneTimeLink:
    """A link that signs in to the page once, with the rights of a key."""

    url: str
    expires_at: datetime
    key_id: str
    owner: str
    scopes: tuple[str, ...]


async def make_link(key_id: str | None) -> OneTimeLink | None:
    """Make a one-time link to the page.

    Args:
        key_id: whose rights it gives; None: the newest key that may do most.

    Returns:
        None where no such key is usable.
    """
    address = base_url(load(ArchiveSettings), load(IngressSettings))
    code, expires_at = make_code(datetime.now(UTC))
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        key = await keys.usable(tx, key_id)
        if key is None:
            return None
        await sessions.add_code(tx, code_digest(code), key.key_id, expires_at)
    return OneTimeLink(link_of(address, code), expires_at, key.key_id, key.owner, key.scopes)


async def rotate_secret(owner: str, overlap: timedelta = ROTATION) -> str:
    """Create a signing secret; for a while the old ones still sign beside it.

    Raises:
        ConfigurationError: `SECRETS_KEY` is not set.
    """
    box = SecretBox.from_settings(load(SecretSettings))
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await keys.lock_owner(tx, owner)
        await keys.expire_secrets(tx, owner, after=overlap)
        return await _add_secret(tx, owner, box)


@dataclass(frozen=True, slots=True)
class Resealed:
    """The result of a pass over the signing secrets.

    Attributes:
        fresh: secrets that were encrypted with the newest key already.
        sealed: secrets that were encrypted with it now.
        unopened: the error of each secret that none of the keys decrypts; these are unchanged.
    """

    fresh: int = 0
    sealed: int = 0
    unopened: tuple[str, ...] = ()

    def __add__(self, other: "Resealed") -> "Resealed":
        return Resealed(
            self.fresh + other.fresh, self.sealed + other.sealed, self.unopened + other.unopened
        )


async def reseal(
    told: Callable[[Resealed], object] = lambda _: None, *, portion: int = RESEAL_PORTION
) -> Resealed:
    """Seal all signing secrets with the newest key of `SECRETS_KEY`, so that older ones may go.

    It works in batches, each its own transaction: if stopped, another run does the rest.

    Args:
        told: called with the result so far after each batch.
        portion: secrets per transaction.

    Raises:
        ConfigurationError: `SECRETS_KEY` is not set.
        DatabaseAway: PostgreSQL is away.
    """
    box = SecretBox.from_settings(load(SecretSettings))
    done, after = Resealed(), 0
    async with open_pool(load(DatabaseSettings)) as pool:
        while True:
            async with pool.transaction() as tx:
                rows = await keys.sealed(tx, after=after, limit=portion)
                done += await _reseal(tx, rows, box)
            if not rows:
                return done
            after = rows[-1].id
            told(done)


async def _reseal(tx: Transaction, rows: Sequence[SealedSecret], box: SecretBox) -> Resealed:
    fresh, sealed, unopened = 0, 0, []
    for row in rows:
        try:
            if not box.needs_sealing(row.secret.decode()):
                fresh += 1
                continue
            secret = box.open(row.secret.decode(), owner=row.owner)
        except ConfigurationError as error:
            unopened.append(f"{row.owner}: {error}")
            continue
        await keys.reseal(tx, row.id, box.seal(secret, owner=row.owner).encode())
        sealed += 1
    return Resealed(fresh, sealed, tuple(unopened))


async def rotate_endpoint_secret(endpoint_id: UUID, overlap: timedelta = ROTATION) -> str:
    """As `rotate_secret`, for a registered callback address.

    Raises:
        ConfigurationError: `SECRETS_KEY` is not set.
        PermanentError: no address is registered under this id.
    """
    box = SecretBox.from_settings(load(SecretSettings))
    owner = endpoints.secrets_owner(endpoint_id)
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await keys.lock_owner(tx, owner)
        if not await endpoints.exists(tx, endpoint_id):
            raise no_endpoint(endpoint_id)
        await keys.expire_secrets(tx, owner, after=overlap)
        return await _add_secret(tx, owner, box)


async def list_endpoints(owner: str | None) -> Sequence[Endpoint]:
    """Return an owner's registered callback addresses, or all."""
    async with open_pool(load(DatabaseSettings)) as pool, pool.connection() as connection:
        return await endpoints.list_all(connection, owner)


async def remove_endpoint(endpoint_id: UUID) -> Removed:
    """Delete a callback address with its secrets; give up its waiting webhooks.

    Raises:
        PermanentError: no address is registered under this id.
    """
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await keys.lock_owner(tx, endpoints.secrets_owner(endpoint_id))
        removed = await endpoints.remove(tx, endpoint_id, owner=None)
    if removed is None:
        raise no_endpoint(endpoint_id)
    return removed


def no_endpoint(endpoint_id: UUID) -> PermanentError:
    """Return the error for an id under which no address is registered."""
    return PermanentError(
        f"no endpoint {endpoint_id}; `photo-archive endpoints list` shows them",
        reason="endpoint_not_found",
    )


async def _create(tx: Transaction, wanted: KeyRequest, box: SecretBox) -> Created:
    made = make_key()
    expires_at = None if wanted.lasts is None else datetime.now(UTC) + wanted.lasts
    scopes = tuple(scope.value for scope in wanted.scopes)
    row = NewKey(made.key_id, wanted.owner, wanted.name, made.digest, scopes, expires_at)
    await keys.add(tx, row)
    secret = None
    if not await keys.has_secret(tx, wanted.owner):
        secret = await _add_secret(tx, wanted.owner, box)
    return Created(
        key=made.text,
        key_id=made.key_id,
        owner=wanted.owner,
        name=wanted.name,
        scopes=scopes,
        expires_at=expires_at,
        signing_secret=secret,
    )


async def _add_secret(tx: Transaction, owner: str, box: SecretBox) -> str:
    secret = make_secret()
    await keys.add_secret(tx, owner, box.seal(secret, owner=owner).encode())
    return secret
