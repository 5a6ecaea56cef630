"""`/metrics` of a process without a web server, which must not disturb its work."""

import asyncio
import errno
import socket
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from core.errors import ConfigurationError
from core.telemetry.exposition import expose
from core.telemetry.metrics import Metrics
from standalone.ports import choose_port
from tests.servers import first_port

HOST = "127.0.0.1"
PORT_OFFSET = 440


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def probed(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/livez", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_the_metrics_are_served() -> None:
    port = choose_port(first_port() + PORT_OFFSET)
    metrics = Metrics(CollectorRegistry())
    metrics.outbox_swept.inc(3)

    expose(metrics, host=HOST, port=port)

    assert "photo_archive_outbox_swept_total 3.0" in await asyncio.to_thread(scraped, port)


async def test_a_taken_port_stops_nothing_and_is_served_once_it_is_free() -> None:
    port = choose_port(first_port() + PORT_OFFSET)
    metrics = Metrics(CollectorRegistry())
    with socket.create_server((HOST, port)), capture_logs() as logs:
        expose(metrics, host=HOST, port=port, retry_s=0.01)
        await asyncio.sleep(0.1)
        assert [line["event"] for line in logs] == ["metrics_not_served"]
        assert logs[0]["port"] == port

    with capture_logs() as logs:
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)

    assert logs[0]["event"] == "metrics_served"
    assert "photo_archive_outbox_swept_total 0.0" in await asyncio.to_thread(scraped, port)


async def test_livez_says_what_stands_still_even_while_the_event_loop_does() -> None:
    port = choose_port(first_port() + PORT_OFFSET)
    metrics = Metrics(CollectorRegistry())
    loop = metrics.signs.part("tagging", limit_s=0.05)
    expose(metrics, host=HOST, port=port)

    assert probed(port) == (200, "ok\n")  # asked by the event loop itself, which is blocked
    loop.sees(3)
    time.sleep(0.1)
    status, text = probed(port)
    assert (status, text.partition(":")[0]) == (503, "tagging")
    loop.moved()
    assert probed(port) == (200, "ok\n")


async def test_a_process_that_waits_for_something_outside_is_given_more_time() -> None:
    metrics = Metrics(CollectorRegistry())
    loop = metrics.signs.part("tagging", limit_s=0.05)
    loop.about["waits_for"] = "DatabaseAway"
    loop.sees(3)
    time.sleep(0.1)

    assert metrics.signs.stuck() == []


async def test_port_zero_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("core.telemetry.exposition.start_server", opened.append)

    expose(Metrics(CollectorRegistry()), host=HOST, port=0)

    assert opened == []


async def test_a_retry_outlives_other_failures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EADDRINUSE, "taken"), OSError(errno.EMFILE, "no more files")]

    def start(*_: object, **__: object) -> None:
        if failures:
            raise failures.pop(0)

    monkeypatch.setattr("core.telemetry.exposition.start_server", start)
    with capture_logs() as logs:
        expose(Metrics(CollectorRegistry()), host=HOST, port=19101, retry_s=0.01)
        async with asyncio.timeout(10):
            while len(logs) < 2:
                await asyncio.sleep(0.01)

    assert [line["event"] for line in logs] == ["metrics_not_served", "metrics_served"]


async def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"TELEMETRY_METRICS_HOST.*192\.0\.2\.1:1\d+"):
        expose(Metrics(CollectorRegistry()), host="192.0.2.1", port=19101)
