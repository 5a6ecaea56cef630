"""Byte mutators against all code that parses untrusted input: `python -m tests.fuzzing`.

    python -m tests.fuzzing [--seconds 20] [--seed 1] [--only multipart]

Each target takes bytes and must return a value or raise one of its expected errors; anything else
is a failure, which is printed with its input. A short run is part of the suite. No coverage is
measured: this finds what a few changed bytes break. `tests.coverage_fuzzing` runs the same targets
with atheris.
"""

import argparse
import asyncio
import io
import logging
import random
import time
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import yarl
from PIL import Image

from core.egress.addresses import parse_networks
from core.egress.targets import TargetPolicy
from core.errors import ImageUnreadable, TargetForbidden
from core.language.lemmatizer import Lemmatizer
from core.vision.decoding import outgoing, sniff
from core.webhooks.schedule import MAX_RETRY_AFTER_S, parse_retry_after
from ingress.http.multipart import read_files
from ingress.http.problems import Problem

Target = Callable[[bytes], None]
LIMITS = sniff.Limits(max_pixels=4_000_000, max_side=4_000)
NOW = datetime(2026, 5, 1, tzinfo=UTC)
POLICY = TargetPolicy(
    schemes=frozenset({"http", "https"}),
    ports=(range(1, 65536),),
    allowed_networks=parse_networks(["127.0.0.0/8"]),
)
URLS = (
    b"https://example.com/hook?x=1#y", b"http://127.0.0.1:8080/a/../b", b"https://[2606:4700::1]/",
    "https://bücher.example/é".encode(), b"https://example.com.:443//", b"http://0x7f.1/",
    b"https://user:pw@example.com@evil.example:99/", b"https://2130706433/", b"https://a%2eb/",
    b"https://www.xn--bcher-kva.xn--p1ai/", b"https://xn--a.example/hook",
)  # fmt: skip
TEXTS = (
    b"We are looking for cats on the beach",
    "День Победы, ветераны и кошки".encode(),
    "e\u0301lan \u202e\u0000 don't o'clock-ish 42".encode(),
)
RETRY_AFTERS = (b"120", b"Fri, 01 May 2026 00:00:30 GMT", b"-1", b"1e9", "٣".encode(), b"0x10")
NAMES = ("intake", "copy", "multipart", "url", "text", "retry-after")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
TOKENS = (
    b"\r\n", b"\r\n\r\n", b"--x", b"--x--", b"\x00", b"\xff\xd9", b"\xff\xd8", b"IDAT", b"Exif\0\0",
    b"@", b"[", b"]", b"%", b"\\", b"#", b":", b"//", b"127.0.0.1", b"\xff\xff\xff\xff",
    "\u3002".encode(), "\uff11".encode(), b"'", b"-", b"xn--", b"xn--a.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """The result of one target."""

    name: str
    inputs: int
    failures: list[tuple[bytes, str]] = field(default_factory=list)


def mutate(seed: bytes, chance: random.Random) -> bytes:
    """Return the seed with a few bytes cut, doubled, flipped, moved, overwritten or inserted."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((1, 2, 4, 16, 256)))
        match chance.randrange(7):
            case 0:
                del data[at:end]
            case 1:
                data[at:at] = data[at:end]
            case 2 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 3:
                data[at:at] = chance.choice(TOKENS)
            case 4:
                data[at:end] = chance.choice(TOKENS)
            case 5:
                piece = bytes(data[at:end])
                del data[at:end]
                place = chance.randint(0, len(data))
                data[place:place] = piece
            case _:
                data[at:end] = chance.randbytes(end - at)
    return bytes(data)


def photos() -> tuple[bytes, ...]:
    """Return a small photo in each format, some with EXIF."""
    picture = Image.linear_gradient("L").resize((24, 17)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    found = []
    for form in FORMATS:
        target = io.BytesIO()
        extra = {"exif": exif} if form in {"JPEG", "PNG", "WEBP", "TIFF"} else {}
        picture.save(target, form, **extra)
        found.append(target.getvalue())
    return tuple(found)


def fuzz_intake(data: bytes) -> None:
    """Check the header of an upload, as the ingress does."""
    try:
        probe = sniff.probe(data, LIMITS)
    except ImageUnreadable:
        return
    if probe.width * probe.height > LIMITS.max_pixels or probe.media_type not in sniff.MEDIA_TYPES:
        raise AssertionError(probe)


def fuzz_copy(data: bytes) -> None:
    """Make the outgoing copy: it is a picture without EXIF, or an error."""
    try:
        kind, copy = outgoing.strip_metadata(data, LIMITS)
    except ImageUnreadable:
        return
    if b"a description" in copy or sniff.media_type(copy) != kind:
        raise AssertionError(f"{kind}: {copy[:80]!r}")


def fuzz_multipart(data: bytes) -> None:
    """Parse an upload's body in pieces of any size."""
    chance = random.Random(data)

    async def pieces() -> AsyncIterator[bytes]:
        start = 0
        while start < len(data):
            size = chance.randint(1, 64)
            yield data[start : start + size]
            start += size

    async def read() -> None:
        count, size = 0, 0
        found = read_files(
            pieces(), "multipart/form-data; boundary=x", max_file_bytes=200, max_files=3
        )
        async for file in found:
            count += 1
            size += len(file.content or b"")
        if count > 3 or size > len(data):
            raise AssertionError(f"{count} files, {size} bytes")

    try:
        asyncio.run(read())
    except Problem as problem:
        if problem.kind.status >= 500:
            raise AssertionError(problem.kind.code) from problem


def fuzz_url(data: bytes) -> None:
    """Check a callback URL: both HTTP clients must parse an accepted one alike."""
    try:
        target = POLICY.check_url(data.decode("utf-8", "surrogateescape"))
    except TargetForbidden:
        return
    by_httpx, by_yarl, host = httpx.URL(target.url), yarl.URL(target.url), target.host.strip("[]")
    seen = {by_httpx.raw_host.decode().strip("[]"), by_yarl.raw_host, host}
    ports = {by_httpx.port or by_yarl.port, by_yarl.port, target.port}
    if len(seen) != 1 or len(ports) != 1 or by_yarl.user or by_httpx.userinfo:
        raise AssertionError(f"{target.url}: {seen} {ports}")
    _ = by_httpx.host, by_yarl.host  # the libraries decode these on access, which must not raise


class FuzzText:
    """Lemmatizes a query's text."""

    def __init__(self) -> None:
        self._lemmatizer = Lemmatizer()

    def __call__(self, data: bytes) -> None:
        """Check that any text gives tokens, and not many more than it has characters."""
        text = data.decode("utf-8", "replace")
        if len(self._lemmatizer.lemmatize(text)) > len(text):
            raise AssertionError(text)


def fuzz_retry_after(data: bytes) -> None:
    """Parse a receiver's `Retry-After`."""
    wish_s = parse_retry_after(data.decode("latin-1"), NOW)
    if wish_s is not None and not 0 < wish_s <= MAX_RETRY_AFTER_S:
        raise AssertionError(wish_s)


def targets() -> dict[str, tuple[tuple[bytes, ...], Target]]:
    """Return the targets by name, each with its seeds."""
    pictures = photos()
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        + picture[:150] + b"\r\n"
        for picture in pictures[:2]
    )  # fmt: skip
    return {
        "intake": (pictures, fuzz_intake),
        "copy": (pictures, fuzz_copy),
        "multipart": ((body + b"--x--\r\n",), fuzz_multipart),
        "url": (URLS, fuzz_url),
        "text": (TEXTS, FuzzText()),
        "retry-after": (RETRY_AFTERS, fuzz_retry_after),
    }


def fuzz(
    name: str, *, seed: int, seconds: float = float("inf"), inputs: int | None = None
) -> Fuzzed:
    """Run one target on mutated seeds until the time or the number is used up."""
    seeds, target = targets()[name]
    chance = random.Random(f"{seed} {name}")
    deadline, tried = time.monotonic() + seconds, 0
    failures: list[tuple[bytes, str]] = []
    while tried != inputs and time.monotonic() < deadline and len(failures) < 10:
        data = mutate(chance.choice(seeds), chance)
        tried += 1
        try:
            target(data)
        except Exception as error:  # noqa: BLE001 - what is looked for
            failures.append((data, f"{type(error).__name__}: {error}"))
    return Fuzzed(name, tried, failures)


def main() -> int:
    """Run, print, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=NAMES)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # python-multipart says of each broken body what is wrong
    warnings.simplefilter("ignore")  # Pillow warns of broken metadata
    failed = 0
    for name in [options.only] if options.only else NAMES:
        found = fuzz(name, seed=options.seed, seconds=options.seconds)
        failed += len(found.failures)
        print(f"{name}: {found.inputs} inputs, {len(found.failures)} failures")  # noqa: T201
        for data, error in found.failures:
            print(f"  {error[:300]}\n    {data[:300]!r}")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
