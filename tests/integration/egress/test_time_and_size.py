"""How long the guarded client waits, and how much it reads, over real sockets."""

import asyncio
import gzip
from contextlib import AsyncExitStack

import pytest

from core.egress.client import (
    EgressLimits,
    GuardedClient,
)
from core.errors import TargetUnreachable
from tests.fakes.receiver import HostileReceiver
from tests.integration.egress.calling import (
    HOST,
    client_to,
    failure,
    post,
)


async def test_the_deadline_covers_all_up_to_the_status_line(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    error = await failure(client, receiver.url("/silent", host=HOST), timeout_s=0.4)

    assert (error.kind, error.infra) == ("timeout", False)
    assert loop.time() - started < 3


async def test_a_status_counts_even_if_its_body_never_ends(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    exchange = await post(client, receiver.url("/drip-body", host=HOST), timeout_s=60, body_s=2)

    assert (exchange.status, exchange.body_complete) == (200, False)
    assert 1 <= len(exchange.body_excerpt) <= 100
    assert loop.time() - started < 10


@pytest.mark.parametrize("status", [200, 204, 410, 500])
async def test_a_status_counts_even_if_its_body_never_begins(
    client: GuardedClient, receiver: HostileReceiver, status: int
) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    exchange = await post(
        client, receiver.url(f"/stuck/{status}", host=HOST), timeout_s=60, body_s=0.3
    )

    assert (exchange.status, exchange.body_excerpt) == (status, b"")
    assert loop.time() - started < 10


async def test_a_body_may_come_after_the_deadline_of_the_headers(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    url = receiver.url("/late-body/1.5", host=HOST)

    exchange = await post(client, url, timeout_s=1, body_s=30)

    assert (exchange.body_excerpt, exchange.body_complete) == (b"late", True)


async def test_no_time_for_the_body_leaves_the_status(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    exchange = await post(client, receiver.url("/stuck/200", host=HOST), body_s=0)

    assert (exchange.status, exchange.body_complete) == (200, False)


async def test_a_download_whose_body_never_ends_hits_the_deadline(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    with pytest.raises(TargetUnreachable) as caught:
        await client.get(receiver.url("/drip-body", host=HOST), max_bytes=10**6, timeout_s=0.4)

    assert caught.value.kind == "timeout"


async def test_a_black_hole_ends_at_the_connect_timeout() -> None:
    # A listener whose backlog is full drops further SYNs.
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0, backlog=0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    loop.remove_reader(server.sockets[0].fileno())
    async with AsyncExitStack() as stack:
        stack.callback(server.close)
        client = await stack.enter_async_context(
            client_to(limits=EgressLimits(connect_timeout_s=0.3))
        )
        tasks = [
            asyncio.create_task(post(client, f"http://127.0.0.1:{port}/", timeout_s=1.5))
            for _ in range(4)
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)

    kinds = [error.kind for error in results if isinstance(error, TargetUnreachable)]
    assert kinds == ["timeout"] * 4
    connect_errors = [error for error in results if "no complete answer" not in str(error)]
    assert connect_errors, "at least one SYN was dropped and ended early"


async def test_an_endless_body_is_cut_at_the_cap(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    exchange = await post(client, receiver.url("/huge", host=HOST))

    assert exchange.status == 200
    assert not exchange.body_complete
    assert len(exchange.body_excerpt) == 16 * 1024
    assert receiver.sent_bytes < 64 * 1024 * 1024


async def test_a_download_larger_than_asked_is_cut_and_says_so(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    download = await client.get(receiver.url("/huge", host=HOST), max_bytes=100_000, timeout_s=10)

    assert (download.status, len(download.body), download.complete) == (200, 100_000, False)


async def test_a_body_of_exactly_the_cap_is_complete(receiver: HostileReceiver) -> None:
    async with client_to(limits=EgressLimits(response_max_bytes=2)) as client:
        exchange = await post(client, receiver.url("/ok", host=HOST))
        download = await client.get(receiver.url("/ok", host=HOST), max_bytes=2, timeout_s=5)

    assert (exchange.body_excerpt, exchange.body_complete) == (b"ok", True)
    assert (download.body, download.complete) == (b"ok", True)


async def test_a_compressed_answer_is_not_unpacked(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    exchange = await post(client, receiver.url("/gzip", host=HOST))

    assert gzip.decompress(exchange.body_excerpt) == b"x" * 1_000_000


async def test_a_status_counts_even_if_its_headers_come_drop_by_drop(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    exchange = await post(client, receiver.url("/drip-headers", host=HOST), body_s=1, timeout_s=60)

    assert (exchange.status, exchange.body_complete) == (200, False)
    assert loop.time() - started < 30


async def test_headers_without_end_are_cut_off(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    exchange = await post(client, receiver.url("/header-flood", host=HOST))

    assert (exchange.status, exchange.body_complete) == (200, False)
    assert receiver.sent_bytes < 8 * 1024 * 1024
