"""The session's own servers: real, current, and fresh for each test."""

import socket
import struct
import threading
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from standalone.kafka import handshake
from standalone.kafka.broker import EmbeddedKafka
from standalone.kafka.logins import Login
from standalone.postgres.server import EmbeddedPostgres
from tests.servers import kafka_login


async def test_a_record_sent_to_the_broker_comes_back(
    kafka_bootstrap: str, topics_prefix: str
) -> None:
    topic = f"{topics_prefix}records"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap, **kafka_login())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, **kafka_login(), acks="all"
    ) as producer:
        await producer.send_and_wait(topic, b"content", key=b"key")
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_bootstrap, **kafka_login(), auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()
    assert (record.key, record.value) == (b"key", b"content")


def test_the_broker_answers_the_handshake_with_its_own_cluster_id(
    kafka_server: EmbeddedKafka,
) -> None:
    given = kafka_server.environment
    login = Login(given["KAFKA_SASL_USERNAME"], given["KAFKA_SASL_PASSWORD"])
    cluster = handshake.ask("127.0.0.1", kafka_server.ports[0], login, timeout_s=5)
    assert cluster is not None
    assert cluster.cluster_id == kafka_server.cluster_id
    assert cluster.brokers == (kafka_server.bootstrap,)


def test_the_handshake_finds_nothing_behind_a_port_of_another_protocol(
    postgres_url: str,
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    assert handshake.ask("127.0.0.1", port, Login("user", "password"), timeout_s=2) is None


async def is_let_in(port: int, **login: Any) -> bool:
    """Return whether a plain client of Kafka gets an answer at this port."""
    client = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", **login)
    try:
        await client.start()
    except KafkaError:
        return False
    else:
        return True
    finally:
        await client.stop()


async def test_a_stranger_is_refused_at_every_port_of_the_broker(
    kafka_server: EmbeddedKafka,
) -> None:
    ours = kafka_login()
    assert await is_let_in(kafka_server.ports[0], **ours)
    guesses: list[dict[str, Any]] = [
        {},
        {**ours, "sasl_plain_password": "guessed"},
        {**ours, "sasl_plain_username": "controller"},
        {**ours, "sasl_mechanism": "PLAIN"},
    ]
    for port in kafka_server.ports:
        for guess in guesses:
            assert not await is_let_in(port, **guess), (port, list(guess))
    assert not await is_let_in(kafka_server.ports[1], **ours), "the controller has its own login"


async def test_a_stranger_is_refused_by_the_database(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    for user in ("postgres", "photo_archive"):
        for password in (None, "", "guessed"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(
                    host="127.0.0.1",
                    port=postgres_server.port,
                    user=user,
                    password=password,
                    database="photo_archive",
                    passfile=str(tmp_path / "none"),
                )


def test_a_client_gives_nothing_away_to_whoever_took_the_brokers_port() -> None:
    heard: list[bytes] = []

    def listen(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while content := connection.recv(4096):
                heard.append(content)
                # "Go on": correlation 1, no error, an empty list or text.
                connection.sendall(struct.pack(">iihi", 10, 1, 0, 0))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=listen, args=(server,))
        thread.start()
        login = Login("photo-archive", "the-password")
        assert handshake.ask("127.0.0.1", server.getsockname()[1], login, timeout_s=5) is None
        thread.join(10)
    assert heard
    assert b"the-password" not in b"".join(heard)


async def test_every_database_has_vectors_and_full_unicode(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT '[1,2]'::halfvec(2) <#> '[3,4]'") == -11
        assert await connection.fetchval("SELECT lower('ДЕНЬ ПОБЕДЫ')") == "день победы"
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    finally:
        await connection.close()


async def test_the_server_refuses_a_wrong_password(postgres_url: str) -> None:
    scheme, _, rest = postgres_url.partition("://")
    user, _, place = rest.partition(":")
    wrong = f"{scheme}://{user}:wrong@{place.partition('@')[2]}"
    try:
        await asyncpg.connect(wrong)
    except asyncpg.InvalidPasswordError:
        return
    raise AssertionError("the server let a wrong password in")


async def test_a_test_gets_a_database_with_the_schema_that_nobody_wrote_to(
    database_url: str, empty_database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM tagged_images") == 0
    finally:
        await connection.close()
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('tagged_images')") is None
    finally:
        await connection.close()
