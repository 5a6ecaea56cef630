"""Compressed batches, unpacked piece by piece while their records are read.

aiokafka 0.14 unpacks a fetched batch as a whole, and the broker bounds only its compressed size: a
batch of 40 kB may hold 400 MB. Here a batch that unpacks to more than `WHOLE_BYTES` comes out of
the codec through a pipe, some records at a time, and one fetch returns `FETCH_BYTES` per partition
at most. aiokafka offers no place to put this: `install` replaces two names of its fetcher, which
tests/integration/messaging/test_aiokafka_traps.py holds to what is assumed of them.

Snappy is left to aiokafka: it makes at most 21 times as much of a batch, and cannot be streamed.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from core.messaging.kafka.inflating import CHUNK_BYTES, Codec, streamed, whole_records

#: A batch up to here is unpacked at once, as nearly all are.
WHOLE_BYTES = 2 * 1024 * 1024
#: What one partition hands out at once, if several records are larger together.
FETCH_BYTES = 4 * 1024 * 1024

_HEADER = struct.Struct(">qiibIhiqqqhii")  # of a batch of version 2, up to the number of records
_LENGTH, _MAGIC, _ATTRIBUTES, _RECORDS = 1, 3, 5, 12  # fields of it
_BEFORE_LENGTH = 12  # the length counts what follows it
_CODEC_MASK = 0x07
_CONTROL = 0x20  # of the attributes: the batch is a marker of a transaction
_USUAL_RATIO = 10  # JSON of like events is a fifth to a tenth when compressed

_CODECS: dict[int, Codec] = {
    1: cramjam.gzip.decompress_into,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}


def install() -> None:
    """Let aiokafka's fetcher read batches by this module; once or several times."""
    for name, ours in (("MemoryRecords", FetchedBatches), ("FetchResult", BoundedResult)):
        setattr(fetcher, name, ours)


class HandedOut(list[Any]):
    """Records of a stretch of the log: all that a reader gets of the offsets from start to end.

    The client passes markers of transactions, aborted records and compacted offsets without a word,
    so the offsets of the records alone do not tell how far it has come. A stretch that holds none
    is true as well, since `getmany` drops what is false.

    Attributes:
        start: where the client stood.
        end: where it stands now.
    """

    def __init__(self, start: int, end: int, records: Iterable[Any] = ()) -> None:
        super().__init__(records)
        self.start = start
        self.end = end

    def __bool__(self) -> bool:
        return self.end > self.start


class BoundedResult(fetcher.FetchResult):
    """What was fetched of a partition, handed out in bounded stretches."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next records: up to the number or `FETCH_BYTES`, whichever comes first."""
        if not self.has_more() or not self.check_assignment(self._topic_partition):
            return []
        start = self._partition_records.next_fetch_offset
        taken: list[Any] = []
        size, is_over = 0, False
        for record in self._partition_records:
            taken.append(record)
            size += _size(record)
            if len(taken) == max_records or size >= FETCH_BYTES:
                break
        else:
            is_over = True
        end = self._partition_records.next_fetch_offset
        self._update_position()
        if is_over:
            self._partition_records = None
        return HandedOut(start, end, taken)


def _size(record: Any) -> int:
    """Return a record's bytes: a small value may come with large headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


class FetchedBatches:
    """The batches of one partition, as they came from the broker."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._whole = MemoryRecords(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return how many bytes came, cut batches at the end included."""
        return len(self._data)

    def has_next(self) -> bool:
        """Return whether another whole batch came."""
        has_next: bool = self._whole.has_next()
        return has_next

    def next_batch(self) -> Any:
        """Return the next batch: its header is read, its records are not unpacked yet."""
        batch = self._whole.next_batch()
        end = self._at + _BEFORE_LENGTH + _length(self._data, self._at)
        raw = memoryview(self._data)[self._at : end]
        self._at = end
        if _is_empty_marker(raw):
            return EmptyMarker(batch)
        if len(raw) < _HEADER.size or (header := _HEADER.unpack_from(raw))[_MAGIC] < 2:
            return batch
        codec = _CODECS.get(header[_ATTRIBUTES] & _CODEC_MASK)
        return batch if codec is None else PackedBatch(batch, header, raw, codec)


def _is_empty_marker(raw: memoryview) -> bool:
    if len(raw) < _HEADER.size:
        return False
    header = _HEADER.unpack_from(raw)
    return bool(header[_MAGIC] >= 2 and header[_ATTRIBUTES] & _CONTROL and not header[_RECORDS])


class EmptyMarker:
    """What compaction leaves of a transaction's marker: a header without the record.

    aiokafka 0.14 asks every marker for its record, and calls the broker away where there is none.
    A batch of no producer is not asked.
    """

    producer_id = None

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)


def _length(data: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">i", data, at + 8)
    return int(length)


class PackedBatch:
    """A compressed batch: all that its header tells, and its records one after the other."""

    def __init__(self, batch: Any, header: tuple[int, ...], raw: memoryview, codec: Codec) -> None:
        self._batch = batch
        self._header = header
        self._raw = raw
        self._codec = codec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """Return the records, one after the other.

        Raises:
            CorruptRecordException: it cannot be unpacked, or a record is over `RECORD_BYTES`; when
                that record is reached.
            NoMeans: it cannot be unpacked now.
        """
        packed = bytes(self._raw[_HEADER.size :])
        # Clearing 2 MiB takes 60 µs, longer than unpacking most batches.
        usual = min(_USUAL_RATIO * len(packed) + CHUNK_BYTES, WHOLE_BYTES)
        for room in (usual, WHOLE_BYTES):
            unpacked = bytearray(room)
            try:
                size = self._codec(packed, unpacked)
            except Exception:  # noqa: BLE001, S112 - it lacks room, or is broken and fails once more
                continue
            return self._plain(self._header[_RECORDS], memoryview(unpacked)[:size])
        return self._in_pieces(packed)

    def _in_pieces(self, packed: bytes) -> Iterator[Any]:
        left = self._header[_RECORDS]
        for count, piece in whole_records(streamed(packed, self._codec)):
            left -= count
            yield from self._plain(count, piece)
        if left:
            raise CorruptRecordException(f"a batch lacks {left} of its records")

    def _plain(self, count: int, records: bytes | memoryview) -> Iterator[Any]:
        """Return records as aiokafka's own reader finds them in a batch that is not compressed.

        They carry their distances from the offset and the time in the header, which stays.
        """
        fields = list(self._header)
        fields[_LENGTH] = _HEADER.size - _BEFORE_LENGTH + len(records)
        fields[_ATTRIBUTES] &= ~_CODEC_MASK
        fields[_RECORDS] = count
        return iter(MemoryRecords(b"".join((_HEADER.pack(*fields), records))).next_batch())
