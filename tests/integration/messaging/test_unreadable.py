"""A record that aiokafka itself cannot unpack costs a dead letter, not the partition."""

import asyncio
import time
from collections import Counter

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from core.messaging.kafka.connection import client_options
from core.settings import DatabaseSettings, KafkaSettings
from tests.counting import TOPIC, open_bench, produce, record_of
from tests.integration.messaging.test_loop import finished, run_until

NOT_LEADER = 6
NAME, BROKEN = b"broken-name", b"\xff\xfe\xfdken-name"


def batch_with_a_broken_header_name(before: int) -> bytes:
    """Return a producer batch: some good records, then one with a header name not in UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1_000_000)
    now_ms = round(time.time() * 1000)  # the broker soon deletes what is older than its retention
    for offset in range(before):
        good = record_of(1000 + offset)
        builder.append(offset, now_ms, good.key, good.value, [])
    builder.append(before, now_ms, b"k", b"{}", [(NAME.decode(), b"v")])
    raw = bytearray(bytes(builder.build()).replace(NAME, BROKEN))
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    return bytes(raw)


async def send_raw(kafka: KafkaSettings, partition: int, batch: bytes) -> None:
    """Produce bytes that no client library would produce."""
    client = AIOKafkaClient(**client_options(kafka, client_id="hostile"))
    await client.bootstrap()
    try:
        topic = kafka.topic_prefix + TOPIC.name
        await client._wait_on_metadata(topic)
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(
            transactional_id=None,
            required_acks=-1,
            timeout=5000,
            topics=[(topic, [(partition, batch)])],
        )
        async with asyncio.timeout(30):
            while code := (await client.send(node, request)).topics[0][1][0][1]:
                assert code == NOT_LEADER  # of a topic that was made a moment ago
                await asyncio.sleep(0.1)
    finally:
        await client.close()


async def test_the_records_before_and_after_an_unreadable_one_have_their_effects(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(60)])
        await send_raw(kafka, 2, batch_with_a_broken_header_name(before=5))
        await produce(bench.publisher, [record_of(n) for n in range(60, 120)])

        await run_until(bench, finished(bench, 126), within_s=60)

        assert await bench.effects() == Counter([*range(120), *range(1000, 1005)])
        assert list((await bench.dead_letters()).values()) == ["unreadable_record"]
