"""Sessions of the page: a cookie in place of the key, which pictures and streams cannot send.

The cookie's value and the codes of one-time links are 256 random bits, of which only the SHA-256 is
kept. A session has the rights of its key, ends with it, and counts as that key.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NoReturn

from starlette.requests import Request

from core.storage import keys, sessions
from core.storage.keys import ApiKey
from core.storage.pool import Pool
from core.storage.sessions import PageSession
from core.transaction import Transaction
from ingress.auth.access import (
    CACHE_MAX,
    CACHE_TTL_S,
    CHALLENGE,
    HEADER,
    LOOKUPS_AT_ONCE,
    TOUCH_AFTER,
    KeyRing,
    Principal,
    client_address,
)
from ingress.auth.cross_site import SAFE, cross_site, is_loopback, require_own_page
from ingress.http.limits import RateLimit
from ingress.http.problems import Extra, Problem

COOKIE = "__Host-session"
LOOPBACK_COOKIE = "session"  # plain http on this machine: no browser keeps the other one there
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105 - a header's name
IDLE, LONGEST = timedelta(hours=12), timedelta(days=7)
#: Writing the end of a session anew with each request would cost more than the request.
PROLONG_AFTER = timedelta(minutes=5)
CODE_LASTS = timedelta(minutes=10)
#: Wrong keys and codes from one address. Right ones pass, as those in the header do.
TRIES_PER_S, TRIES_BURST = 5 / 60, 5
_VALUE_BYTES = 32
_VALUE = re.compile(r"[0-9A-Za-z_-]{43}")


@dataclass(frozen=True, slots=True)
class BegunSession:
    """A session and the value of its cookie, which is not kept."""

    value: str
    session: PageSession


@dataclass(slots=True)
class SessionRing:
    """Begins, checks and ends sessions; remembers what it read for a few seconds.

    Attributes:
        keys: checks the keys that sessions begin with.
        tries: limits the answers to wrong keys and codes per client address.
        base_url: where clients reach this instance.
        clock: monotonic seconds.
        now: the time, aware.
    """

    pool: Pool
    keys: KeyRing
    tries: RateLimit
    base_url: str
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS_AT_ONCE))
    _known: OrderedDict[bytes, tuple[float, PageSession | None]] = field(
        default_factory=OrderedDict
    )

    def cookie_of(self, request: Request) -> str | None:
        """Return the value of the request's cookie; None where there is none or a key wins."""
        if HEADER in request.headers:
            return None
        value = request.cookies.get(COOKIE)
        if value is None and is_loopback(request) and request.scope["scheme"] == "http":
            return request.cookies.get(LOOPBACK_COOKIE)
        return value

    def remembered(self, request: Request) -> str | None:
        """Return the id of the key of the request's session if it held when last looked up."""
        value = self.cookie_of(request)
        _, known = self._known.get(_digest(value or ""), (0.0, None))
        return None if known is None else known.key.key_id

    async def principal_of(self, request: Request) -> Principal:
        """Return who sent a request with a cookie.

        Raises:
            Problem: `cross_site` where another site may have sent it, `session_missing`, or
                `rate_limited` after many wrong cookies.
            DatabaseAway: the session is not in memory and cannot be looked up.
        """
        found = await self.session_of(request)
        key = found.session.key
        return Principal(key.key_id, key.owner, frozenset(key.scopes))

    async def session_of(self, request: Request) -> BegunSession:
        """Return the session of a request with a cookie; raises as `principal_of`."""
        value = self.cookie_of(request)
        if value is not None and request.method not in SAFE:
            self._require_own(request, value)
        found = None if value is None or not _VALUE.fullmatch(value) else await self._find(value)
        if value is None:
            raise session_missing(f"neither the cookie of a session nor a header {HEADER}")
        if found is None:
            self.keys.failures.take(client_address(request))
            raise session_missing("the session has ended")
        return BegunSession(value, found)

    def _require_own(self, request: Request, value: str) -> None:
        require_own_page(request, self.base_url)
        given = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(given.encode(), token_of(value).encode()):
            raise cross_site(f"no header {TOKEN_HEADER}, or not this session's")

    async def begin_with_key(self, request: Request, text: str) -> BegunSession:
        """Begin a session with the rights of a key.

        Raises:
            Problem: `key_invalid`, or `rate_limited` after many tries.
        """
        key = await self.keys.find(text)
        if key is None:
            self._refuse(request)
        async with self.pool.transaction() as tx:
            return await self._begin(tx, key)

    async def begin_with_code(
        self, request: Request, code: str, *, may_leave: bool
    ) -> BegunSession:
        """Begin a session with a one-time code, and use it up; raises as `begin_with_key`.

        A link is not typed: who follows somebody's would work on under another name, unaware. So
        unless `may_leave`, where somebody else is signed in the answer is `signed_in_as_other`.
        """
        value = None if may_leave else self.cookie_of(request)
        present = await self._find(value) if value and _VALUE.fullmatch(value) else None
        owner = None if present is None else present.key.owner
        begun = await self._begun_with(code, owner) if _VALUE.fullmatch(code) else None
        if begun is None:
            self._refuse(request)
        return begun

    async def _begun_with(self, code: str, present: str | None) -> BegunSession | None:
        # One transaction: a code is not used up where no session has begun with it.
        async with self._lookups, self.pool.transaction() as tx:
            key_id = await sessions.take_code(tx, _digest(code), self.now())
            key = None if key_id is None else await keys.find(tx, key_id)
            if key is None or not key.is_usable(self.now()):
                return None
            if present not in {None, key.owner}:
                raise Problem(
                    "signed_in_as_other", f"{present} is signed in, the link is another's"
                )
            return await self._begin(tx, key)

    def _refuse(self, request: Request) -> NoReturn:
        self.tries.take(client_address(request))
        # The same words for all: nobody learns whether a code was used or never was.
        raise Problem(
            "key_invalid",
            "this key or link does not let in: it is misspelled, used, old, or was revoked",
            Extra(headers={"WWW-Authenticate": CHALLENGE}),
        )

    async def _begin(self, tx: Transaction, key: ApiKey) -> BegunSession:
        now, value = self.now(), secrets.token_urlsafe(_VALUE_BYTES)
        session = PageSession(key, now, _end_of(now, now, key))
        await sessions.add(tx, _digest(value), session)
        await keys.touch(tx, key.key_id, older_than=TOUCH_AFTER)
        return BegunSession(value, session)

    async def end(self, request: Request) -> None:
        """End the session of a request, if it has one; who asks was checked before."""
        if value := self.cookie_of(request):
            digest = _digest(value)
            self._remember(digest, self.clock(), None)
            await sessions.end(self.pool, digest)

    async def make_code(self, key_id: str) -> tuple[str, datetime]:
        """Return a code that begins one session with the rights of a key, and its end."""
        code, expires_at = make_code(self.now())
        async with self.pool.transaction() as tx:
            await sessions.add_code(tx, _digest(code), key_id, expires_at)
        return code, expires_at

    async def _find(self, value: str) -> PageSession | None:
        digest = _digest(value)
        found = await self._row(digest)
        now = self.now()
        if found is None or now >= found.ends_at or not found.key.is_usable(now):
            return None
        ends_at = _end_of(now, found.began_at, found.key)
        if ends_at - found.ends_at > PROLONG_AFTER:
            # Remembered before it is written, so that of many requests at once only one writes.
            found = replace(found, ends_at=ends_at)
            self._remember(digest, self._known[digest][0], found)
            await sessions.prolong(self.pool, digest, ends_at)
            await keys.touch(self.pool, found.key.key_id, older_than=TOUCH_AFTER)
        return found

    async def _row(self, digest: bytes) -> PageSession | None:
        known = self._known.get(digest)
        if known is not None and self.clock() - known[0] < CACHE_TTL_S:
            return known[1]
        async with self._lookups:
            found = await sessions.find(self.pool, digest)
        self._remember(digest, self.clock(), found)
        return found

    def _remember(self, digest: bytes, since: float, found: PageSession | None) -> None:
        self._known[digest] = (since, found)
        self._known.move_to_end(digest)
        if len(self._known) > CACHE_MAX:
            self._known.popitem(last=False)


def session_missing(detail: str) -> Problem:
    """Return the answer to a request of nobody who is signed in."""
    return Problem("session_missing", detail, Extra(headers={"WWW-Authenticate": CHALLENGE}))


def token_of(value: str) -> str:
    """Return the token that goes with a cookie: other sites can make a browser send the one only.

    The page asks for it; nobody can make the cookie's value of it.
    """
    made = hmac.digest(value.encode(), b"photo-archive csrf token", "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def make_code(now: datetime) -> tuple[str, datetime]:
    """Return a new code for a one-time link, and when it ends."""
    return secrets.token_urlsafe(_VALUE_BYTES), now + CODE_LASTS


def link_of(base_url: str, code: str) -> str:
    """Return the one-time link with a code, where no log has it: browsers send no fragment."""
    return f"{base_url}/#code={code}"


def code_digest(code: str) -> bytes:
    """Return what is kept of a code."""
    return _digest(code)


def _end_of(now: datetime, began_at: datetime, key: ApiKey) -> datetime:
    """Return when a session that is used now ends."""
    bounds = (now + IDLE, began_at + LONGEST)
    return min(bounds) if key.expires_at is None else min(*bounds, key.expires_at)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
