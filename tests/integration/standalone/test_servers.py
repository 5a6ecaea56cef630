"""The session's own servers: real, current, and fresh for each test."""

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from standalone.kafka import handshake
from standalone.kafka.broker import EmbeddedKafka


async def test_a_record_sent_to_the_broker_comes_back(
    kafka_bootstrap: str, topics_prefix: str
) -> None:
    topic = f"{topics_prefix}records"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, b"content", key=b"key")
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()
    assert (record.key, record.value) == (b"key", b"content")


def test_the_broker_answers_the_handshake_with_its_own_cluster_id(
    kafka_server: EmbeddedKafka,
) -> None:
    cluster = handshake.ask("127.0.0.1", kafka_server.ports[0], timeout_s=5)
    assert cluster is not None
    assert cluster.cluster_id == kafka_server.cluster_id
    assert cluster.brokers == (kafka_server.bootstrap,)


def test_the_handshake_finds_nothing_behind_a_port_of_another_protocol(
    postgres_url: str,
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    assert handshake.ask("127.0.0.1", port, timeout_s=2) is None


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
