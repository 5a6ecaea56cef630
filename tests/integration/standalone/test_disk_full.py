"""A full disk is reported at once, without a loop of restarts, and nothing is lost."""

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from standalone.environment import cache_directory
from standalone.failures import DiskFull
from standalone.kafka.broker import EmbeddedKafka
from standalone.postgres.server import EmbeddedPostgres
from standalone.processes.supervised_process import Status, SupervisedProcess
from tests.integration.standalone.test_kafka import client, count, create_topic
from tests.integration.standalone.waiting import until
from tests.servers import first_port, make_home

PORT_OFFSET = 400  # away from the session's own servers
DISK_MIB = 100


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = make_home("disk")
    options = f"size={DISK_MIB}m,mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if os.geteuid() != 0 or mounted.returncode:
        pytest.skip("a small disk needs root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "ballast_mib",
    [
        pytest.param(DISK_MIB - 8, id="before anything is written"),
        pytest.param(DISK_MIB - 36, id="while the database is made"),
    ],
)
def test_no_room_for_a_database_is_said_in_words(small_disk: Path, ballast_mib: int) -> None:
    (small_disk / "ballast").write_bytes(bytes(ballast_mib * 1024 * 1024))
    server = EmbeddedPostgres(small_disk, first_port() + PORT_OFFSET)
    with pytest.raises(DiskFull, match="no space left for PostgreSQL"):
        server.start()
    assert not server.is_running


async def test_a_broker_that_fills_its_disk_is_not_restarted_and_loses_nothing(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # the producer logs every 0.1 s that no broker answers
    port = first_port() + PORT_OFFSET
    server = EmbeddedKafka(small_disk, cache_directory(small_disk), port)
    reasons: list[str] = []
    keeper = SupervisedProcess("kafka", server, say=lambda message: None, failed=reasons.append)
    keeper.start()
    try:
        keeper.wait_until_up()
        await create_topic(server, "full")
        acknowledged = await fill(server)
        until(lambda: keeper.state().status is Status.FAILED, "it has given up", 60)
        assert "no space left for Kafka's data" in reasons[0]
        assert keeper.state().restarts == 0
    finally:
        keeper.request_stop()
    grow(small_disk)
    server.start()
    try:
        assert await count(server, "full") >= acknowledged > 0
    finally:
        server.stop()


def grow(disk: Path) -> None:
    """Enlarge the disk."""
    subprocess.run(["mount", "-o", f"remount,size={DISK_MIB * 4}m", str(disk)], check=True)


async def fill(server: EmbeddedKafka) -> int:
    """Send until the broker no longer answers; return how many records were acknowledged."""
    acknowledged = 0
    producer = AIOKafkaProducer(**client(server), acks="all", request_timeout_ms=3000)
    await producer.start()
    with contextlib.suppress(KafkaError):
        for _ in range(DISK_MIB * 3):
            await producer.send_and_wait("full", os.urandom(512 * 1024))
            acknowledged += 1
    with contextlib.suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(producer.stop(), 10)
    return acknowledged
