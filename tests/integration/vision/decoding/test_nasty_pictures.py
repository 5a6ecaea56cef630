"""Some 370 broken, strange and malicious files from other projects' suites, through the pool."""

import asyncio
import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import ImageUnreadable
from core.settings import MIB
from core.vision.decoding import sniff
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.pool.answers import Decoded, OutgoingCopy
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from tests.integration.vision.decoding import escapes

FOLDER = Path(__file__).parents[4] / "../shared/data/nasty"
REASONS = {"not_an_image", "corrupt", "truncated", "too_many_pixels", "unsupported_mode", "empty"}
EXIF = {"DateTimeOriginal", "DateTimeDigitized", "ModifyDate"}
LIMITS = PoolLimits(workers=2, timeout_s=20, memory_bytes=768 * MIB)

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared data set is not here")


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}


def facts() -> dict[str, dict[str, str]]:
    with (FOLDER / "nasty.csv").open(newline="") as table:
        return {row["file"]: row for row in csv.DictReader(table)}


@pytest.mark.parametrize("preprocess", ["fast", "exact"])
async def test_each_nasty_file_is_pixels_or_a_reason_and_no_worker_dies(
    preprocess: str, record_property: Callable[[str, object], None]
) -> None:
    given = files()
    async with DecodePool(LIMITS, PixelFormat(fast=preprocess == "fast")) as pool:
        results = await asyncio.gather(*(pool.decode(data) for data in given.values()))
        peaks = [peak_mib(pid) for pid in pool.pids]
        assert pool.replaced == 0
    seen = Counter("decoded" if isinstance(each, Decoded) else each.reason for each in results)
    record_property("outcomes", dict(seen))
    record_property("peak_mib", max(peaks))  # measured: 150
    assert set(seen) <= REASONS | {"decoded"}
    assert seen["decoded"] >= 268
    assert max(peaks) < 256


async def test_each_nasty_file_gives_the_same_with_the_locks_of_a_decoder_as_without() -> None:
    async with (
        DecodePool(LIMITS, operations=escapes.sealed) as sealed,
        DecodePool(LIMITS, operations=escapes.unsealed) as unsealed,
    ):
        for name, data in files().items():
            found, expected = await asyncio.gather(sealed.decode(data), unsealed.decode(data))
            if isinstance(expected, Decoded):
                assert isinstance(found, Decoded), (name, found)
                assert found.pixels.tobytes() == expected.pixels.tobytes(), name
                assert (found.camera, found.exif_datetime) == (
                    expected.camera,
                    expected.exif_datetime,
                ), name
            else:
                assert str(found) == str(expected), name


def peak_mib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


async def test_sizes_times_and_types_agree_with_the_list_that_came_with_the_files() -> None:
    known, given = facts(), files()
    async with DecodePool(LIMITS) as pool:
        for name, data in given.items():
            result = await pool.decode(data)
            if not isinstance(result, Decoded) or not known[name]["width"]:
                continue
            row = known[name]
            sides = {int(row["width"]), int(row["height"])}
            assert {result.width, result.height} == sides, name
            written = row["exif_datetime"].strip()
            if result.exif_source in EXIF and written:  # the list knows of EXIF alone
                assert result.exif_datetime is not None
                assert result.exif_datetime.strftime("%Y:%m:%d %H:%M:%S") == written, name


def test_the_header_check_takes_whatever_the_decoder_takes() -> None:
    """The ingress must not refuse pictures that tagging can read."""
    known = facts()
    for name, data in files().items():
        row = known.get(name)
        if row is None or row["pillow_13_0_result"] != "ok" or sniff.media_type(data) is None:
            continue
        found = sniff.probe(data, sniff.Limits())
        assert {found.width, found.height} == {int(row["width"]), int(row["height"])}, name


async def test_no_nasty_file_leaves_with_its_metadata() -> None:
    async with DecodePool(LIMITS) as pool:
        for name, data in files().items():
            copy = await pool.outgoing_copy(data)
            if isinstance(copy, ImageUnreadable):
                assert copy.reason in REASONS, name
                continue
            assert isinstance(copy, OutgoingCopy)
            assert b"Exif\0\0" not in copy.data, name
            assert b"ns.adobe.com/xap" not in copy.data, name
            assert isinstance(await pool.decode(copy.data), Decoded), name
        assert pool.replaced == 0
