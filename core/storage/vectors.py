"""Embeddings on their way to PostgreSQL and back: float16, little endian, in Python."""

import struct
from array import array
from collections.abc import Sequence


def vector_text(embedding: bytes) -> str:
    """Return float16 little-endian bytes in pgvector's text form."""
    values = struct.unpack(f"<{len(embedding) // 2}e", embedding)
    return "[" + ",".join(f"{value:.6g}" for value in values) + "]"


def rows_from_wire(vectors: Sequence[bytes]) -> bytes:
    """Return float16 little endian, one vector after the other, for many of one dimension."""
    return _swapped(b"".join(vector[4:] for vector in vectors))


def from_wire(vector: bytes) -> bytes:
    """Return float16 little endian for what `halfvec_send` gives: two int16, then big endian."""
    return _swapped(vector[4:])


def _swapped(halves: bytes) -> bytes:
    values = array("H", halves)
    if values.itemsize != 2:  # pragma: no cover - no such platform is known
        raise RuntimeError("array('H') is not of 16 bits here")
    values.byteswap()
    return values.tobytes()
