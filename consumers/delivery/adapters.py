"""The delivery role's ports, satisfied by PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID, uuid4

from consumers.delivery.recording import Outcomes
from core.egress.failures import FailureKind
from core.egress.urls import lane_of
from core.errors import ConfigurationError, TransientError
from core.storage import keys
from core.storage.delivery import deliveries, lanes, listing, targets
from core.storage.delivery.deliveries import Leased
from core.storage.delivery.lanes import Room
from core.storage.delivery.signers import signers
from core.storage.keys import INSTANCE
from core.transaction import Database, Transaction
from core.webhooks.signing_secrets import SecretBox, make_secret
from schemas.callback import CallbackRequested

BREAKER = "breaker"  # actor for targets that a breaker disabled
MAX_OPENED = 10_000
SECRETS_FRESH_S = 10.0  # time after which a rotated secret is used everywhere


async def schedule(tx: Transaction, events: Mapping[UUID, CallbackRequested]) -> None:
    """Put answers on the schedule, due at once, by their webhook's id; known ones stay so."""
    await deliveries.schedule(
        tx,
        [(delivery_id, lane_of(event.url), event) for delivery_id, event in events.items()],
    )


@dataclass(frozen=True, slots=True)
class StoredLanes:
    """The schedule as the lanes use it.

    Attributes:
        delays_s: of the schedule, one before each attempt.
    """

    lease_s: float
    delays_s: Sequence[float]

    async def claim(self, connection: Transaction, room: Room) -> Sequence[Leased]:
        """Lease due webhooks of targets that are not disabled, within the room."""
        return await lanes.claim(connection, room, token=uuid4(), lease_s=self.lease_s)

    async def expire_leases(self, tx: Transaction) -> tuple[int, int]:
        """Make webhooks due again whose worker died; return how many, and how many are dead now."""
        return await deliveries.expire_leases(tx, attempts=len(self.delays_s))

    async def backlog(self, tx: Transaction) -> tuple[int, float]:
        """Return how many webhooks are due and not leased, and the oldest one's wait in seconds."""
        return await listing.backlog(tx)

    async def settle(self, connection: Transaction, outcomes: Outcomes) -> int:
        """Record attempts; return how many leases were no longer ours."""
        ended = [(lease, tried.attempt, tried.settled) for lease, tried in outcomes]
        return len(ended) - len(await deliveries.settle(connection, ended))

    async def disable(self, tx: Transaction, target: str, reason: str) -> None:
        """Hold a target's webhooks until an operator resumes it."""
        await targets.disable(tx, target, actor=BREAKER, reason=reason)

    async def bring_forward(self, tx: Transaction, target: str) -> int:
        """Make retries due that wait only since the target was away; return how many."""
        return await deliveries.bring_forward(
            tx, target, after_s=self.delays_s, kinds=[kind.value for kind in FailureKind]
        )


class SecretsUnusable(TransientError):
    """A stored secret cannot be opened with the keys we have: an operator must act."""


@dataclass(slots=True)
class StoredSecrets:
    """Signing secrets of owners, decrypted, and cached for a few seconds."""

    database: Database
    box: SecretBox
    _opened: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = field(default_factory=dict)

    async def of(self, owner: str | None, url: str) -> Sequence[str]:
        """Return the secrets that sign for this address, the newest first: its own where the owner
        registered it, else the owner's; the instance's for None or for an owner who has none.

        Raises:
            DatabaseAway: the database is away.
            SecretsUnusable: `SECRETS_KEY` does not open them.
        """  # noqa: D205
        known = self._opened.get((owner or INSTANCE, url))
        if known is not None and monotonic() - known[0] < SECRETS_FRESH_S:
            return known[1]
        opened = await self._first(owner, url) or await self._make_instance_secret()
        if len(self._opened) > MAX_OPENED:
            self._opened.clear()
        self._opened[owner or INSTANCE, url] = (monotonic(), opened)
        return opened

    async def _first(self, owner: str | None, url: str) -> tuple[str, ...]:
        async with self.database.connection() as connection:
            names = await signers(connection, owner, url)
        for name in names:
            if opened := await self._open(name):
                return opened
        return ()

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
