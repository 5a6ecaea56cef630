"""Kafka's faults: kill, a taken port, a foreign broker, a useless AOT cache."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.messaging.kafka.connection import login_options
from standalone.environment import cache_directory
from standalone.failures import DirectoryLocked, NotSupported, ServerFailed
from standalone.kafka.broker import Broker, BrokerFiles, EmbeddedKafka
from standalone.kafka.membership import ALONE, Membership
from standalone.ports import PortPlan
from standalone.processes import embedded_server
from standalone.processes.child_process import ChildProcess, Command
from tests.servers import first_port, settings_of

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


def client(server: EmbeddedKafka) -> dict[str, Any]:
    """Return the arguments by which a plain client reaches this server."""
    return {"bootstrap_servers": server.bootstrap, **login_options(settings_of(server))}


async def create_topic(server: EmbeddedKafka, name: str) -> None:
    admin = AIOKafkaAdminClient(**client(server))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(server: EmbeddedKafka, topic: str) -> None:
    async with AIOKafkaProducer(**client(server), acks="all", enable_idempotence=True) as producer:
        for number in range(RECORDS):
            sent = await producer.send(topic, b"%d" % number)
        await producer.flush()
        await sent


async def count(server: EmbeddedKafka, topic: str) -> int:
    async with AIOKafkaConsumer(**client(server)) as consumer:
        partition = TopicPartition(topic, 0)
        ends = await consumer.end_offsets([partition])
        return int(ends[partition])


async def test_what_was_acknowledged_is_there_after_a_kill_and_soon(
    server: EmbeddedKafka,
) -> None:
    await create_topic(server, "kept")
    await produce(server, "kept")
    bootstrap, cluster_id = server.bootstrap, server.cluster_id
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL
    started = time.monotonic()
    server.start()
    took_s = time.monotonic() - started
    assert (server.bootstrap, server.cluster_id) == (bootstrap, cluster_id)
    assert await count(server, "kept") == RECORDS
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
    (home / "kafka" / "recording-killed" / "kafka" / "data").mkdir(parents=True)
    port = first_port() + PORT_OFFSET
    recorded = EmbeddedKafka(home, tmp_path, port)
    recorded.start()
    (cache,) = (tmp_path / "aot").glob("*.aot")
    assert cache.stat().st_size > 10_000_000, "it is there before the first start, not after"
    assert list((home / "kafka").glob("recording-*")) == [], "also what a killed run left"
    recorded.stop()
    cache.write_bytes(b"junk" * 1000)
    again = EmbeddedKafka(home, tmp_path, port)
    again.start()
    try:
        assert again.is_running
        assert not cache.exists()
    finally:
        again.stop()


@pytest.mark.parametrize(("is_recording", "wanted"), [(True, "KILL"), (False, "TERM")])
def test_a_recording_does_not_outlive_us_and_a_broker_ends_in_order(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, is_recording: bool, wanted: str
) -> None:
    commands: list[Command] = []

    def not_started(command: Command) -> ChildProcess:
        commands.append(command)
        raise ServerFailed("it is not started here")

    monkeypatch.setattr(embedded_server, "ChildProcess", not_started)
    place = Membership(home, ALONE, wanted_port=first_port() + PORT_OFFSET, plan=PortPlan())
    files = BrokerFiles(home / "kafka.log", cache_directory(home))
    other = Broker(place, 1, files, is_recording=is_recording)
    with pytest.raises(ServerFailed, match="not started here"):
        other.start()

    assert [command.death_signal for command in commands] == [wanted]


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
