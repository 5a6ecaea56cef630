"""What one client can make an ingress process hold: memory, and whether others are still served."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes.pictures import jpeg
from tests.integration.ingress.conftest import Running
from tests.integration.ingress.test_server import make_key

MIB = 1024 * 1024
PICTURE = jpeg(1) + bytes(4 * MIB)
#: Each of as many connections as the ingress takes, and half as many again.
CONNECTIONS, TAKEN = 200, 300


@asynccontextmanager
async def opened(server: Running, said: bytes) -> AsyncIterator[None]:
    """A connection over which this is said, and from which nothing is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    del reader
    try:
        writer.write(said)
        yield
    finally:
        writer.transport.abort()


def resident_mib(server: Running) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def grown_mib(server: Running, said: bytes, other: str) -> float:
    """How much memory so many such connections take; the other key is served beside them."""
    before = resident_mib(server)
    headers = {"X-API-Key": other}
    async with AsyncExitStack() as held, httpx.AsyncClient(base_url=server.url) as http:
        for _ in range(TAKEN):
            await held.enter_async_context(opened(server, said))
        for _ in range(5):
            response = await http.get("/queries", headers=headers, timeout=60)
            assert response.status_code == 200, response.text
        assert (await http.get("/livez", timeout=60)).status_code == 200
        return resident_mib(server) - before


async def all_kinds(server: Running, greedy: str, other: str) -> dict[str, float]:
    key = f"X-API-Key: {greedy}\r\n".encode()
    begun = b"POST /images/upload HTTP/1.1\r\n" + key + b"Content-Type: image/jpeg\r\n"
    begun += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % MIB
    async with httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": greedy}) as http:
        image = {"content": PICTURE, "headers": {"Content-Type": "image/jpeg"}, "timeout": 60}
        sent = await http.post("/images/upload", **image)  # type: ignore[arg-type]  # of one dict
        image_id = sent.json()["images"][0]["image_id"]
    picture = f"GET /images/{image_id}/content HTTP/1.1\r\n".encode()
    attacks = {
        "headers that do not end": b"GET /x HTTP/1.1\r\nX: " + b"a" * 60_000,
        "requests before their answers": b"GET /docs HTTP/1.1\r\n\r\n" * 15,
        "an unread answer without a key": b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\n\r\n",
        "an unread picture": picture + key + b"\r\n",
        "an upload that stops": begun + PICTURE[:500_000],
    }
    return {kind: await grown_mib(server, said, other) for kind, said in attacks.items()}


@pytest.mark.slow
def test_what_one_client_can_hold_is_bounded_and_others_are_served(
    start: Callable[..., Running],
) -> None:
    server = start(
        INGRESS_MAX_CONNECTIONS=str(CONNECTIONS), INGRESS_MAX_BYTES_IN_FLIGHT=str(256 * MIB)
    )
    greedy, other = make_key(), make_key("query")

    grown = asyncio.run(all_kinds(server, greedy, other))

    # A share of 64 MiB for pictures; 64 KiB of headers for each of the idle connections, and a
    # piece of an answer and buffers for each of the others.
    assert max(grown.values()) < 150, grown
