"""Generated pictures: ordinary ones and hostile ones."""

import io
import struct
import zlib

from PIL import Image, ImageDraw, PngImagePlugin


def photo(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a picture with edges, slopes and colours that depend on `seed`."""
    width, height = size
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    round_ = Image.radial_gradient("L").resize(size)
    bands = [across, down, round_]
    image = Image.merge("RGB", [bands[(seed + at) % 3] for at in range(3)])
    pen = ImageDraw.Draw(image)
    for at in range(12):
        x = (seed * 37 + at * 53) % width
        y = (seed * 71 + at * 29) % height
        colour = ((seed * 11 + at * 97) % 256, (seed * 5 + at * 41) % 256, (at * 23) % 256)
        pen.rectangle((x, y, x + width // 6, y + height // 5), fill=colour)
    return image


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Return an image as a file of some format."""
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = (320, 240), **options: object) -> bytes:
    """Return an ordinary JPEG file; different seeds give different pictures."""
    return encoded(photo(seed, size), "JPEG", **{"quality": 92, **options})


def flat_png(width: int, height: int) -> bytes:
    """Return a PNG of one colour with few kB for hundreds of MB, without allocating its pixels.

    It is valid and may be under the pixel limit; decoding it needs `4 * width * height` bytes.
    """
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + 3 * width)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )


def endless_jpeg(scans: int = 6000, side: int = 8000) -> bytes:
    """Return a valid progressive JPEG whose decoding exceeds the decoder's time limit.

    Each scan is some 70 bytes and says "no change" about all blocks of the picture in runs of
    32,767; libjpeg has to walk over every block all the same, 3 ms a scan. The default is 700 kB
    and keeps a core busy for about 20 s: decode with a time limit of a second or two.

    Source of the trick: the libjpeg-turbo project's report "Two Issues with the JPEG Standard"
    (2015), issue 2.
    """
    blocks = (side + 7) // 8 * ((side + 7) // 8)
    start = [
        b"\xff\xd8",
        _segment(0xDB, b"\0" + b"\1" * 64),
        _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0"),
        _segment(0xC4, b"\x00" + _single_code(0x00)),  # DC: the bit 0 means "no difference"
        _segment(
            0xC4, b"\x10" + _single_code(0xE0)
        ),  # AC: the bit 0 begins a run of 2^14 + 14 bits
        _segment(0xDA, b"\1\1\0\0\0\0") + bytes((blocks + 7) // 8),
    ]
    whole, rest = divmod(blocks, 32767)
    bits = ("0" + "1" * 14) * whole + "0" + format(max(0, rest - 16384), "014b")
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = _segment(0xDA, b"\1\1\0\1\x3f\0") + runs
    return b"".join(start) + scan * scans + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def _single_code(symbol: int) -> bytes:
    """Return a Huffman table with one code of one bit."""
    return bytes([1] + [0] * 15) + bytes([symbol])


def file(data: bytes) -> io.BytesIO:
    """Return bytes as an open file."""
    return io.BytesIO(data)


def png_text(keyword: str, text: str) -> PngImagePlugin.PngInfo:
    """Return the option `pnginfo` of a PNG with one international text."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(keyword, text)
    return info
