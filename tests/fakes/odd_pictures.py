"""Files that libraries refuse or misread, made byte by byte."""

import struct
import zlib
from collections.abc import Iterable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colourants of sRGB, adapted to D50, and its white (ICC.1:2022, IEC 61966-2-1).
RED, GREEN, BLUE = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
_WHITE = (0.9642, 1.0, 0.8249)


def tiff(
    size: tuple[int, int],
    data: bytes,
    *,
    samples: int = 1,
    bits: int = 32,
    kind: int = 3,
    photometric: int = 1,
    order: str = "<",
) -> bytes:
    """Return an uncompressed TIFF of one strip; `kind`: 1 unsigned, 2 signed, 3 float."""
    tags = [
        (256, size[0]), (257, size[1]), (258, bits), (259, 1), (262, photometric), (273, 0),
        (277, samples), (278, size[1]), (279, len(data)), (339, kind),
    ]  # fmt: skip
    offset = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, offset if tag == 273 else value)
        if tag in {273, 279}
        else struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        for tag, value in tags
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "IH", 8, len(tags)) + entries + b"\0\0\0\0"
    return head + data


def bitfields(size: tuple[int, int], bits: int, masks: tuple[int, ...], data: bytes) -> bytes:
    """Return a BMP with a short header; the fourth mask, of alpha, makes it compression 6."""
    compression = 6 if len(masks) == 4 else 3
    fields = struct.pack(f"<{len(masks)}I", *masks)
    return _bmp(size, bits, compression, fields, data)


def two_bits(size: tuple[int, int], colours: Iterable[tuple[int, int, int]], data: bytes) -> bytes:
    """Return a BMP of four colours."""
    palette = b"".join(bytes((blue, green, red, 0)) for red, green, blue in colours)
    return _bmp(size, 2, 0, palette, data)


def broken_rle(size: tuple[int, int], runs: bytes) -> bytes:
    """Return a BMP in runs that end too early."""
    return _bmp(size, 8, 1, bytes((9, 9, 9, 0)) * 256, runs)


def _bmp(size: tuple[int, int], bits: int, compression: int, between: bytes, data: bytes) -> bytes:
    offset = 14 + 40 + len(between)
    head = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(data), 0, 0, 0, 0)
    return head + info + between + data


def chunk(name: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    """Return a PNG's chunk."""
    right = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum or right)


def png_with(png: bytes, *chunks: bytes, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with chunks put in before another."""
    at = png.index(before) - 4
    return png[:at] + b"".join(chunks) + png[at:]


def grey_png(width: int, height: int) -> bytes:
    """Return a black PNG, 8 bits grey."""
    body = zlib.compress(b"\0" * ((width + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def small_gif(width: int, height: int, *, transparent: bool) -> bytes:
    """Return a GIF of some 40 bytes with one pixel on a screen of any size."""
    control = b"!\xf9\x04\x01\0\0\0\0" if transparent else b""
    palette = b"\0\0\0\xff\0\0"
    frame = b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0" + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + palette + control + frame


def small_webp(width: int, height: int) -> bytes:
    """Return a lossless WebP of some 40 bytes that claims to be large."""
    body = struct.pack("<BI", 0x2F, (width - 1) | (height - 1) << 14) + b"\0" * 9
    body = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def profile(space: str = "RGB ", gamma: float = 2.2, primaries: tuple[object, ...] = ()) -> bytes:
    """Return an ICC profile, version 2: three colourants, or grey, and one curve for all."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": _xyz(_WHITE)}
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        names = (b"rXYZ", b"gXYZ", b"bXYZ")
        tags |= dict(zip(names, map(_xyz, primaries or (RED, GREEN, BLUE)), strict=True))
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    length = at + len(body)
    head = struct.pack(">I4sI4s4s4s", length, b"none", 0x02400000, b"mntr", space.encode(), b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(struct.pack(">i", round(value * 65536)) for value in _WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(values: object) -> bytes:
    assert isinstance(values, tuple)
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def cmyk_profile(cyan: tuple[int, int, int]) -> bytes:
    """Return an ICC profile in which paper is white, black is black, and cyan has any L*a*b*.

    One table of two steps per ink (`mft1`, ICC.1:2022, 10.11); magenta and yellow change nothing.
    """
    nodes = bytearray()
    for node in range(16):
        has_cyan, has_black = node >> 3 & 1, node & 1
        light, *colour = cyan if has_cyan else (100, 0, 0)
        shown = (0, 0, 0) if has_black else (light, *colour)
        nodes += bytes((round(shown[0] * 2.55), shown[1] + 128, shown[2] + 128))
    identity = b"".join(struct.pack(">i", 65536 if at % 4 == 0 else 0) for at in range(9))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + bytes(nodes) + ramp * 3
    at = 128 + 4 + 24
    tags = b"A2B0" + struct.pack(">II", at, len(table))
    tags += b"wtpt" + struct.pack(">II", at + len(table), 20)
    body = struct.pack(">I", 2) + tags + table + _xyz(_WHITE)
    head = struct.pack(">I4sI", 128 + len(body), b"none", 0x02400000) + b"prtrCMYKLab "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(struct.pack(">i", round(value * 65536)) for value in _WHITE)
    return head.ljust(128, b"\0") + body
