"""Compressed batches: the same records as by aiokafka's own reader, in bounded pieces."""

import gc
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from core.messaging.kafka import inflating, unpacking
from core.messaging.kafka.consumer import GroupConsumer
from core.messaging.ports import Dropped
from core.settings import MIB, KafkaSettings
from tests.counting import TOPIC

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PACKED = [name for name in CODECS if name not in {"none", "snappy"}]


def batch(codec: str, sizes: list[int], *, base: int = 0) -> bytes:
    """Return a batch of records with values of these sizes."""
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 1 << 30)
    for at, size in enumerate(sizes):
        value = b"%d|" % at + b"0" * size
        builder.append(at, 1_700_000_000_000 + at, b"k%d" % at, value, [("name", b"v%d" % at)])
    raw = bytearray(builder.build())
    raw[:8] = base.to_bytes(8, "big")
    return bytes(raw)


def told(records: Iterator[Any]) -> list[tuple[object, ...]]:
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers) for r in records]


def read(data: bytes, reader: Any) -> list[tuple[object, ...]]:
    """Return all records of all batches, and what each batch tells of itself."""
    batches = reader(data)
    found: list[tuple[object, ...]] = []
    while batches.has_next():
        one = batches.next_batch()
        assert one.validate_crc()
        found.append((one.base_offset, one.next_offset, one.is_control_batch, one.producer_id))
        found += told(iter(one))
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_batches_of_each_codec_read_as_by_aiokafka_itself(codec: str) -> None:
    data = b"".join(
        [
            batch(codec, [10, 0, 500], base=7),
            batch("none", [3], base=10),
            batch(codec, [unpacking.WHOLE_BYTES // 4] * 9, base=11),
            batch(codec, [5] * 2000 + [unpacking.WHOLE_BYTES], base=20),
        ]
    )
    assert read(data, unpacking.FetchedBatches) == read(data, MemoryRecords)


def test_a_batch_that_is_cut_at_the_end_of_a_fetch_is_no_batch_yet() -> None:
    whole, cut = batch("zstd", [10]), batch("zstd", [10], base=1)[:-1]
    batches = unpacking.FetchedBatches(whole + cut)
    batches.next_batch()
    assert not batches.has_next()
    assert batches.size_in_bytes() == len(whole) + len(cut)


@pytest.mark.parametrize("codec", PACKED)
def test_a_record_over_the_limit_is_refused_where_it_is_reached(codec: str) -> None:
    data = batch(codec, [100, inflating.RECORD_BYTES, 100])
    records = iter(unpacking.FetchedBatches(data).next_batch())
    assert next(records).offset == 0
    with pytest.raises(CorruptRecordException, match=f"limit {inflating.RECORD_BYTES}"):
        next(records)


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_batch_whose_compressed_bytes_are_cut_is_refused(codec: str, keep: float) -> None:
    data = batch(codec, [unpacking.WHOLE_BYTES // 2] * 8)
    header = 61
    packed = data[header : header + round((len(data) - header) * keep)]
    cut = data[:8] + (header - 12 + len(packed)).to_bytes(4, "big") + data[12:header] + packed
    with pytest.raises(CorruptRecordException):
        list(unpacking.FetchedBatches(cut).next_batch())


def test_a_batch_with_fewer_records_than_it_says_is_refused() -> None:
    data = bytearray(batch("lz4", [unpacking.WHOLE_BYTES] * 2))
    data[57:61] = (3).to_bytes(4, "big")
    with pytest.raises(CorruptRecordException, match="lacks 1"):
        list(unpacking.FetchedBatches(bytes(data)).next_batch())


@pytest.mark.parametrize(
    "held", [b"\xff\xff\xff\xff\xff\x01", b"\x01"], ids=["endless length", "negative length"]
)
def test_a_length_that_is_none_is_refused(held: bytes) -> None:
    with pytest.raises(CorruptRecordException):
        list(inflating.whole_records(iter([held])))


def test_a_batch_that_is_left_half_read_leaves_no_thread_and_no_descriptor() -> None:
    before = descriptors()
    records = iter(
        unpacking.FetchedBatches(batch("zstd", [unpacking.WHOLE_BYTES] * 8)).next_batch()
    )
    next(records)
    assert unpackers()
    del records
    gc.collect()
    deadline = time.monotonic() + 30
    while unpackers() or descriptors() != before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_good_batch_is_not_called_corrupt_where_the_process_has_no_descriptor_left() -> None:
    good = unpacking.FetchedBatches(batch("zstd", [unpacking.WHOLE_BYTES] * 2)).next_batch()
    with no_descriptor_left(), pytest.raises(inflating.NoMeans):
        list(good)
    assert len(list(good)) == 2


async def test_the_consumer_says_that_records_were_dropped_and_not_that_they_are_garbled() -> None:
    class Client:
        async def getmany(self, *_: object, **__: object) -> None:
            raise inflating.NoMeans("no thread")

    consumer = GroupConsumer(
        KafkaSettings(bootstrap_servers="x:1"), group="g", topic=TOPIC, client_id="c"
    )
    consumer._consumer = cast("AIOKafkaConsumer", Client())
    with pytest.raises(Dropped):
        await consumer.fetch([], max_records=1, timeout_s=0.0)


class Assignment:
    """Of a partition that is ours, from its first record on."""

    active = True
    paused = False
    position = 0

    def state_value(self, _: object) -> "Assignment":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def test_one_fetch_is_bounded_by_keys_and_headers_as_by_values() -> None:
    builder = DefaultRecordBatchBuilder(2, CODECS["zstd"], 0, -1, -1, -1, 1 << 30)
    for at in range(64):
        builder.append(at, 1, b"k" * MIB, None, [("name", b"0" * MIB)])
    place = TopicPartition("t", 0)
    records = fetcher.PartitionRecords(
        place, unpacking.FetchedBatches(bytes(builder.build())), [], 0, None, None, True, 0
    )
    result = unpacking.BoundedResult(
        place, assignment=Assignment(), partition_records=records, backoff=0
    )
    assert len(result.getall(250)) == unpacking.FETCH_BYTES // (2 * MIB)
    assert sum(len(result.getall(250)) for _ in range(31)) == 62


def empty_marker(base: int) -> bytes:
    """Return what compaction leaves of a transaction's marker: its header alone."""
    raw = bytearray(batch("none", [1], base=base)[:61])
    raw[8:12] = (61 - 12).to_bytes(4, "big")
    raw[21:23] = (0x30).to_bytes(2, "big")  # of a transaction, and a marker
    raw[43:51] = (7).to_bytes(8, "big")  # its producer
    raw[57:61] = bytes(4)  # no records
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    return bytes(raw)


def test_a_marker_without_its_record_is_passed_and_said_to_be() -> None:
    place = TopicPartition("t", 0)
    data = batch("none", [1, 1]) + empty_marker(2) + empty_marker(3)
    records = fetcher.PartitionRecords(
        place, unpacking.FetchedBatches(data), [], 0, None, None, True, fetcher.READ_COMMITTED
    )
    result = unpacking.BoundedResult(
        place, assignment=Assignment(), partition_records=records, backoff=0
    )

    taken = result.getall(2)
    assert isinstance(taken, unpacking.HandedOut)
    assert (taken.start, taken.end, len(taken)) == (0, 2, 2)
    passed = result.getall(2)
    assert isinstance(passed, unpacking.HandedOut)
    assert (passed.start, passed.end, len(passed)) == (2, 4, 0)
    assert passed, "a stretch without records is not lost on the way"
    assert not result.has_more()


def unpackers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "unpacking"]


def descriptors() -> int:
    folder = Path("/dev/fd")
    return len(os.listdir(folder))  # noqa: PTH208 - of macOS too


def test_no_more_than_some_records_are_unpacked_at_a_time() -> None:
    ahead = [0]

    def chunks() -> Iterator[bytes]:
        record = b"\xd0\x0f" + b"0" * 1000  # 1,000 bytes, zigzag
        for _ in range(1000):
            ahead[0] += 1
            yield record

    for taken, (count, _) in enumerate(inflating.whole_records(chunks()), 1):
        assert (count, ahead[0]) == (1, taken)
