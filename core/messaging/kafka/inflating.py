"""What a codec makes of a batch, piece by piece, and the whole records in it.

Nothing of it is aiokafka's but the error.
"""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
from aiokafka.errors import CorruptRecordException

#: Largest record: four times what a topic takes uncompressed.
RECORD_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024  # of a pipe

#: (compressed, output) -> bytes written; raises if the output is too small.
Codec = Callable[[bytes, Any], int]


class NoMeans(Exception):
    """This process has no thread or descriptor left to unpack with; the batch may be good."""


def whole_records(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (number of records, their bytes) as soon as there are any whole ones.

    Raises:
        CorruptRecordException: the stream ends within a record, or one is over `RECORD_BYTES`.
    """
    held = bytearray()
    for chunk in chunks:
        held += chunk
        count, end = _count(held)
        while count:
            yield count, bytes(held[:end])
            del held[:end]
            count, end = _count(held)
    if held:
        raise CorruptRecordException(f"a batch ends within a record, after {len(held)} bytes")


def _count(held: bytearray) -> tuple[int, int]:
    """Return how many whole records these bytes begin with, and where they end."""
    count = end = 0
    while True:
        length, at = _varint(held, end)
        if length is None:
            return count, end
        if not 0 <= length <= RECORD_BYTES:
            if count:  # those before it first
                return count, end
            raise CorruptRecordException(f"a record of {length} bytes, limit {RECORD_BYTES}")
        if at + length > len(held):
            return count, end
        count, end = count + 1, at + length


def _varint(held: bytearray, at: int) -> tuple[int | None, int]:
    """Return the signed number at a place, and the place after it; None where it is cut."""
    value = shift = 0
    while at < len(held) and shift < 35:
        byte = held[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    if shift >= 35:
        raise CorruptRecordException("a record's length has more than five bytes")
    return None, at


def streamed(packed: bytes, codec: Codec) -> Iterator[bytes]:
    """Yield what the codec makes, no faster than it is taken.

    The codecs write only into memory or files: here into a pipe, on a thread of their own, which
    ends with an error when the pipe is closed early.

    Raises:
        CorruptRecordException: the codec cannot unpack it.
        NoMeans: no pipe or no thread is to be had.
    """
    errors: list[str] = []
    reading = _begun(packed, codec, errors)
    try:
        while chunk := os.read(reading, CHUNK_BYTES):
            yield chunk
    finally:
        os.close(reading)
    if errors:
        raise CorruptRecordException(errors[0])


def _begun(packed: bytes, codec: Codec, errors: list[str]) -> int:
    """Return the end of a pipe from which to read what the codec makes, until it is closed.

    Args:
        errors: has why the codec failed, once nothing more comes.

    Raises:
        NoMeans: no pipe or no thread is to be had.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise NoMeans(f"no pipe: {error}") from error
    targets: list[Any] = []

    def fill() -> None:
        try:
            codec(packed, targets[0])
        except Exception as error:  # noqa: BLE001 - raised by the reader
            # As text: the error itself would keep the pipe open.
            errors.append(f"{type(error).__name__}: {error}")
        finally:
            targets.clear()  # the last hold of the pipe's end: the reader sees it

    try:
        # It opens the end anew, so ours is closed at once.
        targets.append(cramjam.File(f"/dev/fd/{writing}", read=False, write=True, truncate=False))
        threading.Thread(target=fill, name="unpacking", daemon=True).start()
    except (OSError, RuntimeError) as error:  # the latter: "can't start new thread"
        targets.clear()
        os.close(reading)
        raise NoMeans(f"no thread or descriptor: {error}") from error
    finally:
        os.close(writing)
    return reading
