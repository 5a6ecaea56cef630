"""Kafka's faults: kill, a taken port, a foreign broker, a useless AOT cache."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from standalone.environment import cache_directory
from standalone.failures import DirectoryLocked, NotSupported
from standalone.kafka.broker import EmbeddedKafka
from tests.servers import first_port

PORT_OFFSET = 340  # away from the session's own servers
RECORDS = 500


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedKafka]:
    server = make_server(home)
    server.start()
    yield server
    server.stop()


def make_server(home: Path) -> EmbeddedKafka:
    port = first_port() + PORT_OFFSET
    return EmbeddedKafka(home, cache_directory(home), port)


async def create_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
    ) as producer:
        for number in range(RECORDS):
            sent = await producer.send(topic, b"%d" % number)
        await producer.flush()
        await sent


async def count(bootstrap: str, topic: str) -> int:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        partition = TopicPartition(topic, 0)
        ends = await consumer.end_offsets([partition])
        return int(ends[partition])


async def test_what_was_acknowledged_is_there_after_a_kill_and_soon(
    server: EmbeddedKafka,
) -> None:
    await create_topic(server.bootstrap, "kept")
    await produce(server.bootstrap, "kept")
    bootstrap, cluster_id = server.bootstrap, server.cluster_id
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL
    started = time.monotonic()
    server.start()
    took_s = time.monotonic() - started
    assert (server.bootstrap, server.cluster_id) == (bootstrap, cluster_id)
    assert await count(bootstrap, "kept") == RECORDS
    assert took_s < 30, "the old registration has to expire in 2 s, not in 9"


def test_a_second_broker_on_the_same_data_is_refused_before_it_does_harm(
    server: EmbeddedKafka, home: Path
) -> None:
    with pytest.raises(DirectoryLocked, match=f"process {os.getpid()}, ports {server.ports[0]}"):
        make_server(home).start()
    assert server.is_running


def test_taken_ports_mean_the_next_ones(home: Path) -> None:
    server = make_server(home)
    port = first_port() + PORT_OFFSET
    with (
        socket.create_server(("127.0.0.1", port)),
        socket.create_server(("127.0.0.1", port + 1)),
    ):
        server.start()
        try:
            assert server.ports == (port + 2, port + 3)
        finally:
            server.stop()


def test_a_useless_aot_cache_neither_stops_the_start_nor_stays(
    server: EmbeddedKafka, home: Path, tmp_path: Path
) -> None:
    server.stop()
    (tmp_path / "kafka").symlink_to(cache_directory(home) / "kafka")
    port = first_port() + PORT_OFFSET
    trained = EmbeddedKafka(home, tmp_path, port)
    trained.start()
    trained.stop()
    (cache,) = (tmp_path / "aot").glob("*.aot")
    cache.write_bytes(b"junk" * 1000)
    again = EmbeddedKafka(home, tmp_path, port)
    again.start()
    try:
        assert again.is_running
        assert not cache.exists()
    finally:
        again.stop()


def test_data_without_its_cluster_id_is_left_alone(server: EmbeddedKafka, home: Path) -> None:
    server.stop()
    (home / "kafka" / "cluster_id").unlink()
    with pytest.raises(NotSupported, match="cluster_id is gone"):
        server.start()


def test_a_stop_is_clean_and_leaves_no_process(server: EmbeddedKafka) -> None:
    pid = server.pid
    server.stop()
    assert server.wait(0) == 143
    assert not Path(f"/proc/{pid}").exists()
