"""One key, or one address without a key, does not take what all share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from core.webhooks.links import sign_link
from ingress.auth.access import HEADER
from ingress.auth.api_keys import Scope, make_key
from tests.fakes.pictures import jpeg
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import LINK_KEY, NOW, MakeWorld, World

CONNECTIONS = 16  # a key may have 4 and wait on 2, an address without one may have 2
KIB = 1024


@pytest.fixture
def shared(make_world: MakeWorld) -> World:
    return make_world(max_connections=CONNECTIONS, wait_for_tags_s=30)


async def asked(http: httpx.AsyncClient) -> str:
    """The path of a query that nobody answers."""
    question = {"text": "a cat", "callback_url": "https://example.org/hook"}
    response = await http.post("/images/tags", json=question)
    assert response.status_code == 202, response.text
    return f"/queries/{response.json()['query_id']}"


async def directory_job(http: httpx.AsyncClient) -> str:
    """The path of a job that nobody works on."""
    made = await http.post("/tag/directory", json={"directory_path": "photos"})
    return f"/jobs/{made.json()['job_id']}"


async def long_poll(http: httpx.AsyncClient, path: str) -> httpx.Response:
    return await http.get(path, params={"wait": "30"})


async def events(http: httpx.AsyncClient, path: str) -> httpx.Response:
    return await http.get(path, headers={"Accept": "text/event-stream"})


async def tag_file(http: httpx.AsyncClient, path: str) -> httpx.Response:
    return await http.post("/tag/image", json={"image_path": path})


async def a_photo(http: httpx.AsyncClient) -> str:
    del http
    return "photos/a.jpg"


Made = Callable[[httpx.AsyncClient], Awaitable[str]]
Asked = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
WAITS: dict[str, tuple[Made, Asked]] = {
    "a query": (asked, long_poll),
    "a job": (directory_job, events),
    "the tags of a file": (a_photo, tag_file),
}


@asynccontextmanager
async def under_way(
    world: World, number: int, ask: Callable[[], Awaitable[httpx.Response]]
) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """So many requests that wait; they are cancelled at the end."""
    wanted = world.deps.guards.places.waiting.used + number
    tasks = [asyncio.ensure_future(ask()) for _ in range(number)]
    async with asyncio.timeout(20):
        while world.deps.guards.places.waiting.used < wanted:
            await asyncio.sleep(0.01)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", WAITS)
async def test_a_key_waits_for_a_share_and_others_wait_beside_it(shared: World, kind: str) -> None:
    make, ask = WAITS[kind]
    (shared.photos / "a.jpg").write_bytes(jpeg(1))
    scopes = (Scope.QUERY, Scope.PATHS)
    async with shared.client(*scopes) as greedy, shared.client(*scopes, owner="bob") as other:
        path = await make(greedy)
        theirs = await make(other)
        async with under_way(shared, 2, lambda: ask(greedy, path)):
            announced = len(shared.broker.records)
            refused = await ask(greedy, path)
            assert len(shared.broker.records) == announced
            at_once = await greedy.get("/jobs")
            async with under_way(shared, 2, lambda: ask(other, theirs)):
                pass

    assert "waiting requests" in problem_in(refused, "rate_limited")["detail"]
    assert refused.headers["retry-after"] == "2"
    assert at_once.status_code == 200
    places = shared.deps.guards.places
    assert (places.waiting.used, places.keyed.used, places.keyless.used) == (0, 0, 0)


async def test_a_key_has_a_share_of_all_requests_under_way(shared: World) -> None:
    gate = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield jpeg(1)
        await gate.wait()

    async def send(http: httpx.AsyncClient) -> httpx.Response:
        headers = {"Content-Type": "image/jpeg"}
        return await http.post("/images/upload", content=dripping(), headers=headers)

    places = shared.deps.guards.places
    async with shared.client(Scope.UPLOAD) as greedy, shared.client(Scope.QUERY) as other:
        assert (await greedy.get("/queries")).status_code == 403  # but the key is known now
        sending = [asyncio.create_task(send(greedy)) for _ in range(4)]
        async with asyncio.timeout(20):
            while places.keyed.used < 4:
                await asyncio.sleep(0.01)
        refused = await send(greedy)
        served = await other.get("/queries")
        gate.set()
        statuses = [(await one).status_code for one in sending]

    assert "connections" in problem_in(refused, "rate_limited")["detail"]
    assert (served.status_code, statuses) == (200, [202] * 4)
    assert (places.keyed.used, places.keyed.held) == (0, {})


class SlowReader:
    """A client that takes the beginning of an answer, and no more until it is let go."""

    def __init__(self, world: World, path: str, host: str = "10.0.0.9") -> None:
        self._world, self._path, self._host = world, path, host
        self.gate, self.begun = asyncio.Event(), asyncio.Event()
        self.status, self.body = 0, b""

    async def read(self) -> None:
        path, _, query = self._path.partition("?")
        scope: dict[str, Any] = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "headers": [], "client": (self._host, 1),
            "server": ("archive", 80), "scheme": "http", "root_path": "", "http_version": "1.1",
        }  # fmt: skip
        await self._world.app(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.begun.set()
        await self.gate.wait()
        self.body += message["body"]


async def test_an_address_without_a_key_has_a_share_however_slowly_it_reads(shared: World) -> None:
    picture = jpeg(1) + bytes(300 * KIB)
    async with shared.client(Scope.UPLOAD, Scope.READ) as http:
        sent = await http.post(
            "/images/upload", content=picture, headers={"Content-Type": "image/jpeg"}
        )
        path = f"/images/{sent.json()['images'][0]['image_id']}/content"
    link = sign_link(path, expires_at=NOW.replace(year=2027), key=LINK_KEY)
    slow = [SlowReader(shared, link) for _ in range(2)]
    reading = [asyncio.create_task(one.read()) for one in slow]
    await asyncio.gather(*(one.begun.wait() for one in slow))

    refused, elsewhere = SlowReader(shared, link), SlowReader(shared, link, "10.0.0.10")
    probing = SlowReader(shared, "/livez")
    for one in (refused, elsewhere, probing):
        one.gate.set()
        await one.read()
    assert shared.deps.guards.bodies.used == 2 * len(picture)
    for one in slow:
        one.gate.set()
    await asyncio.gather(*reading)

    assert [one.status for one in (refused, elsewhere, probing)] == [429, 200, 200]
    assert [one.body for one in slow] == [picture] * 2
    assert shared.deps.guards.bodies.used == shared.deps.guards.places.keyless.used == 0


async def test_invented_keys_count_for_their_address_while_they_are_looked_up(
    shared: World,
) -> None:
    lookups, places = shared.deps.guards.keys._lookups, shared.deps.guards.places

    async def guess() -> httpx.Response:
        headers = {HEADER: make_key().text}
        transport = httpx.ASGITransport(shared.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://archive") as http:
            return await http.get("/queries", headers=headers)

    async with shared.client(Scope.QUERY) as known:
        assert (await known.get("/queries")).status_code == 200
        async with lookups, lookups:  # all that are done at a time: as if the database were slow
            guesses = [asyncio.create_task(guess()) for _ in range(2)]
            async with asyncio.timeout(20):
                while places.keyless.used < 2:
                    await asyncio.sleep(0.01)
            refused, served = await guess(), await known.get("/queries")
        statuses = [(await one).status_code for one in guesses]

    problem_in(refused, "rate_limited")
    assert (served.status_code, statuses) == (200, [401, 401])


async def test_a_flood_of_probes_asks_the_database_once(shared: World) -> None:
    async with shared.client() as http:
        shared.pool.statements.clear()
        answers = await asyncio.gather(*(http.get("/readyz") for _ in range(50)))

    assert {one.status_code for one in answers} == {200}
    assert shared.pool.statements.count("SELECT 1") < 10


async def test_requests_without_a_key_are_limited_per_address(make_world: MakeWorld) -> None:
    world = make_world(requests_per_second=1)
    async with world.client() as http:
        answers = [await http.get("/docs/plain.css") for _ in range(3)]
        alive = [(await http.get("/livez")).status_code for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 429]
    assert alive == [200] * 3


async def test_many_waiting_requests_of_a_key_look_as_often_as_a_few(shared: World) -> None:
    places = shared.deps.guards.places
    places.waiting.limit = 1000
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(places.waiting.reserved(1, "greedy"))

        assert places.pause_s("greedy") == 2.0
        assert places.pause_s("modest") == 0.0


@pytest.mark.parametrize("end", ["the client goes", "the process stops"])
async def test_nobody_waits_for_a_client_that_is_gone(shared: World, end: str) -> None:
    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        del message

    key = await shared.key(Scope.QUERY)
    async with shared.client(Scope.QUERY) as http:
        path = await asked(http)
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"wait=30", "headers": [(HEADER.lower().encode(), key.text.encode())],
        "client": ("10.0.0.9", 1), "server": ("archive", 80), "scheme": "http", "root_path": "",
        "http_version": "1.1",
    }  # fmt: skip
    waiting = asyncio.create_task(shared.app(scope, receive, send))
    async with asyncio.timeout(20):
        while shared.deps.guards.places.waiting.used == 0:
            await asyncio.sleep(0.01)
        if end == "the client goes":
            gone.set()
        else:
            shared.deps.readiness.is_ready = False
        await waiting

    assert shared.deps.guards.places.waiting.used == 0
