"""Resolve host names to all their addresses: one lookup per host at a time, bounded, cached.

A receiver's name servers may be slow, and it may have any number of names. So hanging lookups are
bounded per domain, known names do not wait for them, and a separate lookup tells whether our own
resolver is at fault.

`loop.getaddrinfo` is not used: it shares asyncio's default executor, where one slow name server
would block everything else that runs there.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol, Self
from weakref import WeakValueDictionary

from core.egress.addresses import IPAddress, parse_address
from core.errors import TargetUnreachable

# The platform gives no TTL; the guard judges the addresses themselves, so age is only a matter of
# following moves.
TTL_S = 30.0
# Shorter for failures: a name may be about to appear; long enough to not ask for it per attempt.
NEGATIVE_TTL_S = 5.0
# How long the last good answer is served while a newer one cannot be had: the greatest age of a
# connection too, so moved names are followed about as fast.
STALE_S = 300.0
MAX_HOSTS = 4096
MAX_LOOKUPS = 32  # threads; a host whose name servers hang holds one of them, never two
# Per domain, taken as the last two labels. This is coarser than the public suffix list: all of
# co.uk share these lookups, which matters only while that many of them hang.
MAX_PER_DOMAIN = 8

# EAI codes for "this name does not exist", unlike those for "it could not be found out".
_NO_SUCH_NAME = frozenset(
    code
    for code in (
        socket.EAI_NONAME,
        getattr(socket, "EAI_NODATA", None),
        getattr(socket, "EAI_ADDRFAMILY", None),
    )
    if code is not None
)

# A name that must not exist (RFC 6761, 6.4): a resolver that denies it is working.
CONTROL_NAME = "control.invalid"

Lookup = Callable[[str], Sequence[str]]


class Resolver(Protocol):
    """Return all addresses of a host."""

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """Return all addresses, in the order to try; at least one.

        Raises:
            TargetUnreachable: `kind="dns"`; `infra` where the resolver, not the name, failed.
        """
        ...


def system_lookup(host: str) -> Sequence[str]:
    """Return a host's addresses by the platform's resolver; blocks.

    Raises:
        OSError: `socket.gaierror` with its EAI code.
    """
    # Bytes skip Python's IDNA 2003 codec, which fails on labels that resolvers accept (`_x`).
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, slots=True)
class _Answer:
    expires_at: float
    addresses: tuple[IPAddress, ...] = ()
    failure: str = ""
    unsure: bool = False  # whether the resolver did not deny the name
    stale_until: float = -inf  # served so long while it is looked up again


class HostResolver:
    """The resolver that the guard uses.

    Each lookup runs in its own daemon thread under a bound: unlike an executor's threads, they do
    not keep a stopping process alive until a hanging `getaddrinfo` gives up (30 s and more).
    """

    def __init__(
        self,
        *,
        lookup: Lookup = system_lookup,
        timeout_s: float = 5.0,
        ttl_s: float = TTL_S,
        negative_ttl_s: float = NEGATIVE_TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_LOOKUPS)
        # Kept by those who wait for them or hold them.
        self._domains: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._answers: dict[str, _Answer] = {}
        self._running: dict[str, asyncio.Task[_Answer]] = {}

    async def __aenter__(self) -> Self:
        """Do nothing: leaving ends what still runs."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the lookups that still run."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """Return all addresses of a host, each once, from memory while it is fresh.

        An older answer is given while a new one is fetched, up to `STALE_S` after the lookup that
        found it.

        A failure is the resolver's (`infra`) only where it fails for the control name too: a
        domain whose own name servers are dead looks the same (EAI_AGAIN, or no answer in time),
        and so does a name that waits in vain behind such ones. None may pass for an outage of ours.

        Raises:
            TargetUnreachable: `kind="dns"`; `infra` where the resolver itself is away.
        """
        answer = await self._answer(host)
        if not answer.addresses:
            infra = answer.unsure and (await self._answer(CONTROL_NAME)).unsure
            raise TargetUnreachable(f"{host}: {answer.failure}", kind="dns", infra=infra)
        return answer.addresses

    async def _answer(self, host: str) -> _Answer:
        known, now = self._answers.get(host), self._clock()
        if known is not None and now < known.expires_at:
            return known
        task = self._asked(host)
        if known is not None and now < known.stale_until:
            return known
        try:
            # Shielded, so that the cancellation of one waiter does not cancel the lookup of others.
            return await asyncio.wait_for(asyncio.shield(task), self._timeout_s)
        except TimeoutError:
            return self._failed(host, f"no answer from the resolver within {self._timeout_s:g} s")

    def _asked(self, host: str) -> asyncio.Task[_Answer]:
        task = self._running.get(host)
        if task is None:
            task = asyncio.create_task(self._run(host), name=f"resolve {host}")
            self._running[host] = task
            task.add_done_callback(lambda _: self._running.pop(host, None))
        return task

    async def _run(self, host: str) -> _Answer:
        if host == CONTROL_NAME:  # the control lookup must not wait for slots
            return await self._look(host)
        try:
            async with asyncio.timeout(self._timeout_s) as turn, self._domain(host), self._slots:
                turn.reschedule(None)
                return await self._look(host)
        except TimeoutError:
            return self._failed(host, f"no turn at the resolver within {self._timeout_s:g} s")

    def _domain(self, host: str) -> asyncio.Semaphore:
        name = ".".join(host.split(".")[-2:])
        return self._domains.setdefault(name, asyncio.Semaphore(MAX_PER_DOMAIN))

    async def _look(self, host: str) -> _Answer:
        try:
            addresses = _unique(await _in_thread(self._lookup, host))
        except OSError as error:
            failure = f"the name cannot be resolved: {error.strerror or error}"
            return self._failed(host, failure, unsure=error.errno not in _NO_SUCH_NAME)
        now = self._clock()
        answer = _Answer(now + self._ttl_s, addresses, stale_until=now + STALE_S)
        return self._remembered(host, answer)

    def _failed(self, host: str, failure: str, *, unsure: bool = True) -> _Answer:
        """Cache a failure; unless the name was denied, return the last good answer meanwhile."""
        now = self._clock()
        expires_at = now + self._negative_ttl_s
        known = self._answers.get(host)
        if unsure and known is not None and now < known.stale_until:
            kept = replace(known, expires_at=min(expires_at, known.stale_until))
            return self._remembered(host, kept)
        return self._remembered(host, _Answer(expires_at, failure=failure, unsure=unsure))

    def _remembered(self, host: str, answer: _Answer) -> _Answer:
        self._answers.pop(host, None)
        while len(self._answers) >= MAX_HOSTS:
            self._answers.pop(next(iter(self._answers)))  # the oldest answer
        self._answers[host] = answer
        return answer


def _unique(found: Sequence[str]) -> tuple[IPAddress, ...]:
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "no addresses")
    return tuple(dict.fromkeys(parse_address(text) for text in found))


async def _in_thread(lookup: Lookup, host: str) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(found: Sequence[str] | None, error: BaseException | None) -> None:
        if future.done():  # the loop is stopping
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(found or [])

    def work() -> None:
        found: Sequence[str] | None = None
        failure: BaseException | None = None
        try:
            found = lookup(host)
        except BaseException as error:  # noqa: BLE001  # handed over to the task, whole
            failure = error
        try:
            loop.call_soon_threadsafe(settle, found, failure)
        except RuntimeError:  # the loop was closed while the name server slept
            return

    threading.Thread(target=work, name=f"resolve {host}", daemon=True).start()
    return await future
