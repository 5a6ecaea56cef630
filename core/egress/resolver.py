"""Host names to addresses, all of them: one lookup per host at a time, bounded, remembered briefly.

Not `loop.getaddrinfo`: it shares asyncio's default executor, where one slow name server would
stand before everything else that runs there.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from core.egress.addresses import IPAddress, parse_address
from core.errors import TargetUnreachable

# The platform gives no TTL; the guard judges the addresses themselves, so age is only a matter of
# following moves.
TTL_S = 30.0
# Shorter for failures: a name may be about to appear; long enough to not ask for it per attempt.
NEGATIVE_TTL_S = 5.0
MAX_HOSTS = 4096
MAX_LOOKUPS = 32  # threads; a host whose name servers hang holds one of them, never two

# EAI codes that say "this name does not exist", as against "I could not find out".
_NO_SUCH_NAME = frozenset(
    code
    for code in (
        socket.EAI_NONAME,
        getattr(socket, "EAI_NODATA", None),
        getattr(socket, "EAI_ADDRFAMILY", None),
    )
    if code is not None
)

# A name that no resolver may find (RFC 6761, 6.4): whoever denies it is there and answers.
CONTROL_NAME = "control.invalid"

Lookup = Callable[[str], Sequence[str]]


class Resolver(Protocol):
    """Gives all addresses of a host."""

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """All addresses, in the order to try; at least one.

        Raises:
            TargetUnreachable: `kind="dns"`; `infra` where the resolver, not the name, failed.
        """
        ...


def system_lookup(host: str) -> Sequence[str]:
    """Addresses by the platform's resolver; blocks.

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
    unsure: bool = False  # the resolver did not say that the name does not exist


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
        self._answers: dict[str, _Answer] = {}
        self._running: dict[str, asyncio.Task[_Answer]] = {}

    async def __aenter__(self) -> Self:
        """Nothing to open; leaving ends what still runs."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the lookups that nobody waits for any more."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """All addresses of a host, each once, from memory while it is fresh.

        A failure is the resolver's (`infra`) only where it fails for the control name too: a
        domain whose own name servers are dead looks the same (EAI_AGAIN, or no answer in time),
        and must not pass for an outage of ours.

        Raises:
            TargetUnreachable: `kind="dns"`; `infra` where the resolver itself is away.
        """
        answer = await self._answer(host)
        if not answer.addresses:
            infra = answer.unsure and (await self._answer(CONTROL_NAME)).unsure
            raise TargetUnreachable(f"{host}: {answer.failure}", kind="dns", infra=infra)
        return answer.addresses

    async def _answer(self, host: str) -> _Answer:
        return self._remembered(host) or await self._ask(host)

    def _remembered(self, host: str) -> _Answer | None:
        answer = self._answers.get(host)
        return answer if answer is not None and self._clock() < answer.expires_at else None

    async def _ask(self, host: str) -> _Answer:
        task = self._running.get(host)
        if task is None:
            task = asyncio.create_task(self._run(host), name=f"resolve {host}")
            self._running[host] = task
            task.add_done_callback(lambda _: self._running.pop(host, None))
        try:
            # Shielded: one waiter's end must not end the lookup of the others.
            return await asyncio.wait_for(asyncio.shield(task), self._timeout_s)
        except TimeoutError:
            failure = f"no answer from the resolver within {self._timeout_s:g} s"
            answer = _Answer(self._clock() + self._negative_ttl_s, failure=failure, unsure=True)
            self._remember(host, answer)
            return answer

    async def _run(self, host: str) -> _Answer:
        async with self._slots:
            try:
                found = await _in_thread(self._lookup, host)
                answer = _Answer(self._clock() + self._ttl_s, _unique(found))
            except OSError as error:
                unsure = error.errno not in _NO_SUCH_NAME
                failure = f"the name cannot be resolved: {error.strerror or error}"
                answer = _Answer(
                    self._clock() + self._negative_ttl_s, failure=failure, unsure=unsure
                )
        self._remember(host, answer)
        return answer

    def _remember(self, host: str, answer: _Answer) -> None:
        self._answers.pop(host, None)
        while len(self._answers) >= MAX_HOSTS:
            self._answers.pop(next(iter(self._answers)))  # the oldest answer
        self._answers[host] = answer


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
