"""Embeddings on their way to PostgreSQL and back: float16, little endian, in Python."""

import struct
from array import array


def vector_text(embedding: bytes) -> str:
    """Return float16 little-endian bytes in pgvector's text form."""
    values = struct.unpack(f"<{len(embedding) // 2}e", embedding)
    return "[" + ",".join(f"{value:.6g}" for value in values) + "]"


def from_wire(vector: bytes) -> bytes:
    """Return float16 little endian for what `halfvec_send` gives: two int16, then big endian."""
    values = array("H", vector[4:])
    if values.itemsize != 2:  # pragma: no cover - no such platform is known
        raise RuntimeError("array('H') is not of 16 bits here")
    values.byteswap()
    return values.tobytes()
