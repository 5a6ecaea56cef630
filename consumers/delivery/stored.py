"""The delivery role's ports, satisfied by PostgreSQL, the blob store and the decoder processes."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol
from uuid import UUID, uuid4

from consumers.delivery.attempts import Lease, Tried
from consumers.delivery.courier import Picture, image_changed, image_gone
from consumers.delivery.pacing import Rooms
from consumers.delivery.recording import Outcome
from consumers.delivery.role import Scheduled
from core.errors import ConfigurationError, PermanentError, TransientError
from core.storage import deliveries, endpoints, hosts, images, keys
from core.storage.deliveries import Attempt, Leased, NewDelivery, Room, Settled
from core.storage.images import ImageStatus
from core.transaction import Transaction
from core.webhooks.signing_secrets import SecretBox, make_secret

#: Owner of the instance's own secret: signs for queries that came straight from a topic.
INSTANCE = ""
BREAKER = "breaker"  # who disabled a host, where no person did
KEPT = "blob:"  # URIs of bytes that are found by their SHA-256
OFF_LOOP_BYTES = 256 * 1024
MAX_OPENED = 10_000
SECRETS_FRESH_S = 10.0  # a rotated secret is in use everywhere after that


class Database(Protocol):
    """What `core.storage.pool.Pool` offers."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """An open transaction."""
        ...

    def connection(self) -> AbstractAsyncContextManager[Transaction]:
        """A connection outside a transaction."""
        ...


class Bytes(Protocol):
    """What `core.blobs.store.BlobStore` offers."""

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        """Give each URI's bytes, or why there are none."""
        ...


class OutgoingCopy(Protocol):
    """An encoded copy of a picture."""

    @property
    def media_type(self) -> str:
        """What the bytes are."""
        ...

    @property
    def data(self) -> bytes:
        """The bytes."""
        ...


class Copier(Protocol):
    """What `core.vision.decoder.DecodePool` offers."""

    async def outgoing_copy(self, data: bytes) -> OutgoingCopy | PermanentError:
        """Give a copy without metadata."""
        ...


class StoredIntake:
    """Callback events become rows of the schedule."""

    async def intake(self, tx: Transaction, scheduled: Sequence[Scheduled]) -> None:
        """Put deliveries on the schedule, due at once; known ones stay as they are."""
        await deliveries.intake(
            tx,
            [
                NewDelivery(
                    delivery_id=item.delivery_id,
                    query_id=item.event.query_id,
                    owner=item.event.owner,
                    host=item.host,
                    url=item.event.url,
                    event=item.event.model_dump_json(exclude_none=True),
                )
                for item in scheduled
            ],
        )


@dataclass(frozen=True, slots=True)
class StoredLanes:
    """The schedule as the lanes use it."""

    lease_s: float

    async def claim(self, tx: Transaction, rooms: Rooms) -> Sequence[Leased]:
        """Lease due webhooks of hosts that are not disabled, within the rooms."""
        room = Room(
            hosts=rooms.hosts,
            rooms=rooms.rooms,
            tiers=rooms.tiers,
            new_host=rooms.new_host,
            by_tier=rooms.by_tier,
            total=rooms.total,
        )
        return await deliveries.claim(tx, room, token=uuid4(), lease_s=self.lease_s)

    async def expire_leases(self, tx: Transaction) -> int:
        """Make webhooks due again whose worker died."""
        return await deliveries.expire_leases(tx)

    async def backlog(self, tx: Transaction) -> tuple[int, float]:
        """Give how many webhooks are due and not leased, and the oldest one's wait in seconds."""
        return await deliveries.backlog(tx)

    async def settle(self, tx: Transaction, outcomes: Sequence[Outcome[Lease]]) -> int:
        """Record attempts; give how many leases were no longer ours."""
        ended = [(_leased(one.lease), _attempt(one.tried), _settled(one.tried)) for one in outcomes]
        return len(ended) - len(await deliveries.settle(tx, ended))

    async def release(self, tx: Transaction, lease: Lease, delay_s: float) -> None:
        """Give a lease back, uncharged."""
        await deliveries.release(tx, _leased(lease), delay_s)

    async def disable(self, tx: Transaction, host: str, reason: str) -> None:
        """Hold a host's webhooks until an operator resumes it."""
        await hosts.disable(tx, host, actor=BREAKER, reason=reason)


def _attempt(tried: Tried) -> Attempt:
    return Attempt(tried.started_at, tried.took_ms, tried.status, tried.error, tried.detail)


def _settled(tried: Tried) -> Settled:
    return Settled(tried.state, tried.next_at, tried.reason)


def _leased(lease: Lease) -> Leased:
    if not isinstance(lease, Leased):
        raise TypeError(f"{type(lease).__name__} was not leased here")
    return lease


class CopyCache:
    """Copies of pictures that left a short while ago, by their original's hash; bounded in bytes.

    One picture is the answer to many queries, and goes out again with each retry: decoding it
    costs more than all the rest of a delivery.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._copies: OrderedDict[bytes, OutgoingCopy] = OrderedDict()

    def get(self, digest: bytes) -> OutgoingCopy | None:
        """Give the copy of the picture with this SHA-256."""
        copy = self._copies.get(digest)
        if copy is not None:
            self._copies.move_to_end(digest)
        return copy

    def put(self, digest: bytes, copy: OutgoingCopy) -> None:
        """Remember a copy; those that were asked for longest ago make room."""
        if digest in self._copies or len(copy.data) > self._max_bytes:
            return
        self._copies[digest] = copy
        self._bytes += len(copy.data)
        while self._bytes > self._max_bytes:
            _, old = self._copies.popitem(last=False)
            self._bytes -= len(old.data)


@dataclass(frozen=True, slots=True)
class StoredPictures:
    """Images as they may leave: checked against what was tagged, without their metadata."""

    database: Database
    blobs: Bytes
    copier: Copier
    inline_max_bytes: int
    keep_exif: bool
    copies: CopyCache

    async def outgoing(self, image_id: UUID, *, inline: bool) -> Picture | PermanentError:
        """Give the image; without bytes where a link was asked for or they are too many.

        Raises:
            TransientError: the database or the store of the bytes is away.
        """
        async with self.database.connection() as connection:
            known = await images.status(connection, image_id)
        if known is None or known.status == "missing":
            return image_gone(image_id)
        copy = self._sent_before(known) if inline else None
        if copy is not None:
            return Picture(known.path, copy.media_type, copy.data)
        content = (await self.blobs.read_all([known.uri]))[0]
        if isinstance(content, PermanentError):
            return image_gone(image_id)
        return await self._picture(known, content, inline=inline)

    async def _picture(
        self, known: ImageStatus, content: bytes, *, inline: bool
    ) -> Picture | PermanentError:
        media_type = known.media_type or "application/octet-stream"
        digest = await _sha256(content)
        if known.tagged_sha256 is not None and digest != known.tagged_sha256:
            return image_changed(known.image_id)
        if not inline or len(content) > self.inline_max_bytes:
            return Picture(known.path, media_type, None)
        if self.keep_exif:
            return Picture(known.path, media_type, content)
        return await self._copy(known.path, content, digest)

    def _sent_before(self, known: ImageStatus) -> OutgoingCopy | None:
        """A copy made before, where the bytes cannot have changed: they are kept by their hash."""
        if not known.uri.startswith(KEPT) or known.sha256 is None:
            return None
        if known.tagged_sha256 not in {None, known.sha256}:
            return None
        return self.copies.get(known.sha256)

    async def _copy(self, path: str, content: bytes, digest: bytes) -> Picture | PermanentError:
        copy = self.copies.get(digest)
        if copy is None:
            made = await self.copier.outgoing_copy(content)
            if isinstance(made, PermanentError):
                return made
            copy = made
            self.copies.put(digest, copy)
        return Picture(path, copy.media_type, copy.data)


async def _sha256(content: bytes) -> bytes:
    """Hash of an image's bytes; the larger ones off the loop, since it takes 1 ms per MiB."""
    if len(content) <= OFF_LOOP_BYTES:
        return sha256(content)
    return await asyncio.to_thread(sha256, content)


def sha256(content: bytes) -> bytes:
    """Hash of an image's bytes."""
    return hashlib.sha256(content).digest()


class SecretsUnusable(TransientError):
    """A stored secret cannot be opened with the keys we have: an operator must act."""


@dataclass(slots=True)
class StoredSecrets:
    """Signing secrets of owners, opened, and remembered for a few seconds."""

    database: Database
    box: SecretBox
    _opened: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = field(default_factory=dict)

    async def of(self, owner: str | None, url: str) -> Sequence[str]:
        """Give what signs for this address, the newest first: its own secrets where the owner
        registered it, else the owner's; the instance's for None or for an owner who has none.

        Raises:
            DatabaseAway: the database is away.
            SecretsUnusable: `SECRETS_KEY` does not open them.
        """  # noqa: D205
        known = self._opened.get((owner or INSTANCE, url))
        if known is not None and monotonic() - known[0] < SECRETS_FRESH_S:
            return known[1]
        opened = await self._open(await self._signer(owner, url))
        if not opened and owner:
            opened = await self._open(owner)
        if not opened:
            opened = await self._open(INSTANCE) or await self._make_instance_secret()
        if len(self._opened) > MAX_OPENED:
            self._opened.clear()
        self._opened[owner or INSTANCE, url] = (monotonic(), opened)
        return opened

    async def _signer(self, owner: str | None, url: str) -> str:
        if not owner:
            return INSTANCE
        async with self.database.connection() as connection:
            endpoint_id = await endpoints.find(connection, owner, url)
        return owner if endpoint_id is None else endpoints.secrets_owner(endpoint_id)

    async def _open(self, name: str) -> tuple[str, ...]:
        async with self.database.connection() as connection:
            sealed = await keys.signing_secrets(connection, name)
        try:
            return tuple(self.box.open(secret.decode(), owner=name) for secret in sealed)
        except ConfigurationError as error:
            raise SecretsUnusable(str(error)) from error

    async def _make_instance_secret(self) -> tuple[str, ...]:
        async with self.database.transaction() as tx:
            await keys.lock_owner(tx, INSTANCE)
            if not await keys.has_secret(tx, INSTANCE):
                sealed = self.box.seal(make_secret(), owner=INSTANCE)
                await keys.add_secret(tx, INSTANCE, sealed.encode())
        return await self._open(INSTANCE)
