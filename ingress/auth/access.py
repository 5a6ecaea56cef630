"""Authentication by API key, and authorization by scope."""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from starlette.requests import Request

from core.storage import keys
from core.storage.keys import ApiKey
from core.storage.pool import Pool
from ingress.auth.api_keys import Scope, digest_of, key_id_of
from ingress.http.idling import name_of_address
from ingress.http.limits import RateLimit
from ingress.http.problems import Extra, Problem

HEADER = "X-API-Key"
#: RFC 9110, 11.6.1: a 401 names its scheme; there is no registered one for this header.
CHALLENGE = f'ApiKey realm="photo-archive", header="{HEADER}"'
CACHE_TTL_S = 5.0  # how long a revoked key may still work; saves a query per request
CACHE_MAX = 10_000
#: Keys that are looked up at a time, 0.3 ms each: guesses take at most so many of the pool's
#: connections, whatever addresses they come from.
LOOKUPS_AT_ONCE = 2
TOUCH_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of the key that a request came with."""

    key_id: str
    owner: str
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether the key may do everything and see everything."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """Return whether the key has this scope."""
        return self.is_admin or scope in self.scopes

    @property
    def own_only(self) -> str | None:
        """The owner whose rows the principal may see; None: an administrator, who sees all."""
        return None if self.is_admin else self.owner

    def owns(self, owner: str | None) -> bool:
        """Tell whether the principal may see a query or a job of this owner."""
        return self.is_admin or owner == self.owner


@dataclass(slots=True)
class KeyRing:
    """Checks API keys against the table; remembers what it read for a few seconds.

    Attributes:
        failures: limits the answers to wrong keys per client address.
        clock: monotonic seconds.
        now: the time, aware.
    """

    pool: Pool
    failures: RateLimit
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS_AT_ONCE))
    _known: OrderedDict[str, tuple[float, ApiKey | None]] = field(default_factory=OrderedDict)

    def remembered(self, request: Request) -> str | None:
        """Return the id of the request's key if it was valid when it was last looked up."""
        text = request.headers.get(HEADER, "")
        key_id = key_id_of(text)
        _, key = self._known.get(key_id or "", (0.0, None))
        is_it = key is not None and hmac.compare_digest(key.digest, digest_of(text))
        return key_id if is_it else None

    async def principal_of(self, request: Request) -> Principal:
        """Return who sent a request.

        Raises:
            Problem: `key_missing`, `key_invalid`, or `rate_limited` after many wrong keys.
            DatabaseAway: the key is not in memory and cannot be looked up.
        """
        text = request.headers.get(HEADER)
        if text is None:
            raise _unauthorized("key_missing", f"no header {HEADER}")
        # Clients behind one proxy share its address: one that guesses keys must not lock out the
        # others. So only keys that were found wrong count, after they were looked up.
        key = await self.find(text)
        if key is None:
            self.failures.take(client_address(request))
            raise _unauthorized("key_invalid", f"the key in {HEADER} is not valid")
        return Principal(key.key_id, key.owner, frozenset(key.scopes))

    async def find(self, text: str) -> ApiKey | None:
        """Return the usable key that a text is, and note its use; None where it is none."""
        key_id = key_id_of(text)
        key = None if key_id is None else await self._row(key_id)
        if key is None or not hmac.compare_digest(key.digest, digest_of(text)):
            return None
        if not key.is_usable(self.now()):
            return None
        await self._note_use(key)
        return key

    async def _row(self, key_id: str) -> ApiKey | None:
        known = self._known.get(key_id)
        if known is not None and self.clock() - known[0] < CACHE_TTL_S:
            return known[1]
        async with self._lookups:
            key = await keys.find(self.pool, key_id)
        self._remember(key_id, self.clock(), key)
        return key

    def _remember(self, key_id: str, since: float, key: ApiKey | None) -> None:
        self._known[key_id] = (since, key)
        self._known.move_to_end(key_id)
        if len(self._known) > CACHE_MAX:
            self._known.popitem(last=False)

    async def _note_use(self, key: ApiKey) -> None:
        now = self.now()
        if key.last_used_at is not None and now - key.last_used_at < TOUCH_AFTER:
            return
        # Remembered before it is written, so that of many requests at once only one writes.
        self._remember(key.key_id, self._known[key.key_id][0], replace(key, last_used_at=now))
        await keys.touch(self.pool, key.key_id, older_than=TOUCH_AFTER)


def client_address(request: Request) -> str:
    """Return the name under which a client without a key is counted: its address.

    It is the address that a proxy of `FORWARDED_ALLOW_IPS` tells, else that of the connection.
    """
    return name_of_address(request.client.host if request.client else "")


def require(principal: Principal, scope: Scope, why: str = "") -> None:
    """Check that the principal has the scope.

    Args:
        why: begins the explanation.

    Raises:
        Problem: `scope_missing`.
    """
    if not principal.may(scope):
        has = ", ".join(sorted(principal.scopes)) or "none"
        raise Problem(
            "scope_missing", f"{why}this needs the scope {scope.value!r}; the key has: {has}"
        )


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(code, detail, Extra(headers={"WWW-Authenticate": CHALLENGE}))
