"""What one connection may make the ingress hold: the real protocol on a socket, a small app."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from core.settings import IngressSettings
from ingress.dependencies import Readiness
from ingress.http.idling import SEAT
from ingress.http.limits import WireLimits
from ingress.server import listen, make_server
from tests.integration.ingress.conftest import free_port

LIMITS = WireLimits(header_timeout_s=30, send_timeout_s=30)
KIB = 1024
REQUEST = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_REQUEST = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Heard:
    """A small application, and what it heard."""

    requests: list[Scope] = field(default_factory=list)
    body: bytes = b"ok"
    gate: asyncio.Event | None = None
    holder: str | None = None
    pause_s: float = 0.0
    answered: int = 0
    left: int = 0  # requests that noticed that their client is gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append(scope)
        if self.holder:
            scope[SEAT].holder = self.holder
        scope[SEAT].pause_s = self.pause_s
        if scope["path"] == "/watch":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left += 1
            return
        if scope["method"] == "POST":
            while (await receive()).get("more_body"):
                pass
        if self.gate is not None and scope["path"] != "/quick":
            await self.gate.wait()
        length = (b"content-length", str(len(self.body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        for start in range(0, len(self.body), 64 * KIB):
            piece = self.body[start : start + 64 * KIB]
            more = start + 64 * KIB < len(self.body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
        self.answered += 1


@dataclass
class Hosted:
    """A server that runs in this process."""

    port: int
    app: Heard
    connections: set[Any]

    @asynccontextmanager
    async def connected(self, limit: int = 2**16) -> AsyncIterator["WireClient"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        try:
            yield WireClient(reader, writer)
        finally:
            writer.close()


@dataclass
class WireClient:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *pieces: bytes) -> None:
        """Send all of it, or as much as is taken."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
        except ConnectionError:
            pass

    async def answer(self) -> bytes:
        """Return all that is said until the connection is closed."""
        said = b""
        async with asyncio.timeout(30):
            try:
                while piece := await self.reader.read(65536):
                    said += piece
            except ConnectionError:
                pass
        return said


@asynccontextmanager
async def running(limits: WireLimits = LIMITS, app: Heard | None = None) -> AsyncIterator[Hosted]:
    heard = app or Heard()
    port = free_port()
    settings = IngressSettings(_env_file=None, port=port)
    server = make_server(heard, settings, Readiness(), limits)
    with listen(settings) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started)
        try:
            yield Hosted(port, heard, server.server_state.connections)
        finally:
            if heard.gate is not None:
                heard.gate.set()
            server.should_exit = server.force_exit = True
            await serving


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def problem_of(answer: bytes, status: int, code: str) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"\r\nconnection: close" in head
    document: dict[str, Any] = json.loads(body)
    assert document["code"] == code
    return document


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: a\r\n" % number for number in range(count))


HEADS = {
    "one long header": (b"GET /x HTTP/1.1\r\nX-Long: " + b"a" * 70 * KIB, 431, "head_too_large"),
    "a header that is complete": (
        b"GET /x HTTP/1.1\r\nX-Long: " + b"a" * 65 * KIB + b"\r\n\r\n", 431, "head_too_large",
    ),
    "many long headers": (
        b"GET /x HTTP/1.1\r\n" + (b"X: " + b"a" * 8 * KIB + b"\r\n") * 9, 431, "head_too_large",
    ),
    "many headers": (b"GET /x HTTP/1.1\r\n" + fields(201) + b"\r\n", 431, "head_too_large"),
    "a long name": (b"GET /x HTTP/1.1\r\n" + b"a" * 70 * KIB, 431, "head_too_large"),
    "blanks before a value": (b"GET /x HTTP/1.1\r\nX:" + b" " * 70 * KIB, 431, "head_too_large"),
    "empty lines before a request": (b"\r\n" * 40 * KIB, 431, "head_too_large"),
    "a long target": (b"GET /" + b"a" * 33 * KIB, 414, "target_too_long"),
    "a long target that is complete": (
        b"GET /?q=" + b"a" * 33 * KIB + b" HTTP/1.1\r\n\r\n", 414, "target_too_long",
    ),
    "blanks before a target": (b"GET" + b" " * 70 * KIB, 431, "head_too_large"),
    "a long method": (b"A" * 70 * KIB, 400, "malformed_request"),
}  # fmt: skip


@pytest.mark.parametrize("said", HEADS)
async def test_a_head_beyond_a_bound_is_refused_and_the_connection_closed(said: str) -> None:
    sent, status, code = HEADS[said]
    async with running() as server, server.connected() as client:
        await client.say(sent)
        answer = await client.answer()

    problem_of(answer, status, code)
    assert server.app.requests == []


async def test_a_head_up_to_the_bounds_is_taken() -> None:
    target = b"GET /?q=" + b"a" * (32 * KIB - 4) + b" HTTP/1.1\r\nConnection: close\r\n"
    room = 64 * KIB - len(target) - len(fields(198)) - len(b"L: \r\n\r\n")
    async with running() as server, server.connected() as client:
        await client.say(target + fields(198) + b"L: " + b"b" * room + b"\r\n\r\n")
        answer = await client.answer()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(server.app.requests[0]["headers"]) == 200


async def test_a_client_that_sends_endlessly_reads_why_it_is_refused() -> None:
    async with running() as server, server.connected() as client:
        line = b"X-Long: " + b"a" * 1000 + b"\r\n"
        sending = asyncio.create_task(client.say(b"GET /x HTTP/1.1\r\n", *[line] * 100_000))
        answer = await client.answer()
        await sending

    problem_of(answer, 431, "head_too_large")


CHUNKED = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "an endless extension": CHUNKED + b"5;x=" + b"a" * 200 * KIB,
    "extensions of many chunks": CHUNKED + (b"1;x=" + b"a" * 1000 + b"\r\nx\r\n") * 200,
    "endless trailers": CHUNKED + b"0\r\n" + b"X-Trailer: a\r\n" * 300,
    "one endless trailer": CHUNKED + b"0\r\nX-Trailer: " + b"a" * 200 * KIB,
    "a size of many zeros": CHUNKED + b"0" * 200 * KIB,
}


@pytest.mark.parametrize("said", BODIES)
async def test_what_surrounds_a_body_is_bounded_too(said: str) -> None:
    async with running() as server, server.connected() as client:
        await client.say(BODIES[said])
        answer = await client.answer()

    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert len(server.app.requests[0]["headers"]) == 2  # trailers are no headers


async def test_a_body_in_small_chunks_is_taken() -> None:
    chunks = b"1\r\na\r\n" * 100_000 + b"0\r\nX-Trailer: a\r\n\r\n"
    async with running() as server, server.connected() as client:
        await client.say(CHUNKED.replace(b"Host: x", b"Connection: close"), chunks)
        answer = await client.answer()

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_requests_before_their_answers_are_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = asyncio.Event()
    async with running(app=Heard(gate=gate)) as server, server.connected() as client:
        await client.say(REQUEST * 3000)
        answer = await client.answer()
        gate.set()  # the first one's answer comes when nobody is there any more
        await until(lambda: server.app.answered == 1)

    assert answer == b""  # an answer would be taken for that of the first request
    assert len(server.app.requests) == 1
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_few_requests_before_their_answers_are_answered_in_order() -> None:
    async with running() as server, server.connected() as client:
        await client.say(REQUEST * 10 + LAST_REQUEST)
        answer = await client.answer()

    assert answer.count(b"HTTP/1.1 200 ") == 11


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"GET http://x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n",  # seen when the headers are complete
    ],
)
async def test_garbage_behind_a_request_is_not_its_answer(garbage: bytes) -> None:
    gate = asyncio.Event()
    async with running(app=Heard(gate=gate)) as server, server.connected() as client:
        await client.say(REQUEST + garbage)
        answer = await client.answer()

    assert answer == b""


async def test_a_refusal_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    limits = replace(LIMITS, head_bytes=KIB)
    garbage = CHUNKED + b"1;x=" + b"a" * 3 * KIB + b"\r\nx, then no chunk"  # and beyond the bound
    async with running(limits) as server, server.connected() as client:
        await client.say(garbage)
        answer = await client.answer()

    problem_of(answer, 400, "malformed_request")
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_who_goes_is_missed_by_the_request_under_way_though_others_wait_behind_it() -> None:
    async with running() as server:
        async with server.connected() as client:
            await client.say(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n" + REQUEST * 2)
            await until(lambda: len(server.app.requests) == 1)
        await until(lambda: server.app.left == 1)

    assert len(server.app.requests) == 1


async def test_blanks_behind_a_value_are_no_part_of_it() -> None:
    async with running() as server, server.connected() as client:
        await client.say(b"GET /x HTTP/1.1\r\nX-A: one two \t \r\nConnection: close\r\n\r\n")
        await client.answer()

    assert (b"x-a", b"one two") in server.app.requests[0]["headers"]


async def test_headers_that_never_end_are_given_a_limited_time() -> None:
    limits = replace(LIMITS, header_timeout_s=0.2)
    async with running(limits) as server, server.connected() as client:
        await client.say(REQUEST, b"GET /x HTTP/1.1\r\nX-Slow: a")
        answer = await client.answer()  # of the first; then the second took too long

    assert answer.count(b"HTTP/1.1 200 ") == 1


async def test_an_answer_that_nobody_reads_is_given_a_limited_time() -> None:
    limits = replace(LIMITS, send_timeout_s=0.3)
    app = Heard(body=bytes(64 * KIB * KIB))
    async with running(limits, app) as server, server.connected(limit=1) as client:
        await client.say(REQUEST)
        await until(lambda: len(server.app.requests) == 1)

        await until(lambda: not server.connections)

        answer = await client.answer()
    assert len(answer) < len(app.body)


async def test_a_slow_reader_that_goes_on_reading_gets_all_of_it() -> None:
    limits = replace(LIMITS, send_timeout_s=2)
    app = Heard(body=bytes(8 * KIB * KIB))
    async with running(limits, app) as server, server.connected(limit=1) as client:
        await client.say(LAST_REQUEST)
        taken, started = 0, time.monotonic()
        while piece := await client.reader.read(256 * KIB):
            taken += len(piece)
            if time.monotonic() - started < 4:  # twice as long as one may take nothing
                await asyncio.sleep(0.02)

    assert taken > len(app.body)


async def test_idle_connections_beyond_the_number_give_way_to_new_ones() -> None:
    limits = replace(LIMITS, connections=40)
    async with running(limits) as server, AsyncExitStack() as held:
        for _ in range(200):
            await held.enter_async_context(server.connected())
        client = await held.enter_async_context(server.connected())
        await client.say(LAST_REQUEST)
        answer = await client.answer()

        assert answer.startswith(b"HTTP/1.1 200 ")
        await until(lambda: len(server.connections) <= limits.idle_per_address)


async def test_a_connection_of_a_key_stays_while_strangers_take_all_others() -> None:
    limits = replace(LIMITS, connections=40)
    app = Heard(holder="key")
    async with running(limits, app) as server, AsyncExitStack() as held:
        known = await held.enter_async_context(server.connected())
        await known.say(REQUEST)
        await known.reader.readuntil(b"ok")
        for _ in range(100):
            await held.enter_async_context(server.connected())
        await known.say(LAST_REQUEST)

        assert (await known.answer()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("before", [b"", b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_requests_under_way_are_never_closed_for_new_connections(before: bytes) -> None:
    limits = replace(LIMITS, connections=8)
    app = Heard(gate=asyncio.Event())
    async with running(limits, app) as server, AsyncExitStack() as held:
        busy = await held.enter_async_context(server.connected())
        await busy.say(before + LAST_REQUEST)
        await until(lambda: len(server.app.requests) == 1 + bool(before))
        for _ in range(20):
            await held.enter_async_context(server.connected())
        assert app.gate is not None
        app.gate.set()

        assert (await busy.answer()).count(b"HTTP/1.1 200 ") == 1 + bool(before)


async def test_a_probe_is_answered_while_all_other_requests_have_no_room() -> None:
    limits = replace(LIMITS, connections=4, probes=frozenset({b"/livez"}), probe_room=1)
    app = Heard(gate=asyncio.Event())
    probe = b"GET /livez?verbose HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with running(limits, app) as server, AsyncExitStack() as held:
        for _ in range(limits.connections):
            busy = await held.enter_async_context(server.connected())
            await busy.say(REQUEST)
        await until(lambda: len(app.requests) == limits.connections)
        other = await held.enter_async_context(server.connected())
        await other.say(LAST_REQUEST)
        refused = await other.answer()
        asked = await held.enter_async_context(server.connected())
        await asked.say(probe)
        await until(lambda: len(app.requests) == limits.connections + 1)
        further = await held.enter_async_context(server.connected())
        await further.say(probe)  # probes have a bound of their own
        refused_too = await further.answer()
        assert app.gate is not None
        app.gate.set()

        assert (await asked.answer()).startswith(b"HTTP/1.1 200 ")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert refused_too.startswith(b"HTTP/1.1 503 ")


async def test_a_refused_client_is_not_heard_before_its_time() -> None:
    async with running(app=Heard(pause_s=0.5)) as server, server.connected() as client:
        await client.say(REQUEST)
        await client.reader.readuntil(b"ok")
        told_at = time.monotonic()
        await client.say(LAST_REQUEST)
        answer = await client.answer()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - told_at > 0.45
