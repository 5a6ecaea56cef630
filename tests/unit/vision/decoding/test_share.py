"""The share that a picture may take of a decoder: by its bytes, and by time."""

import struct

import pytest

from core.tags import Postponed, Slowness
from core.vision.decoding import sniff
from core.vision.decoding.limits import share
from tests.fakes import pictures


def exceeds(data: bytes) -> Postponed | None:
    return share.exceeds(sniff.probe(data, sniff.Limits()), data)


@pytest.mark.parametrize("size", [(320, 240), (4000, 3000)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_ordinary_photos_are_within_their_share(
    size: tuple[int, int], options: dict[str, bool]
) -> None:
    assert exceeds(pictures.jpeg(1, size, **options)) is None


def test_a_jpeg_of_thousands_of_scans_is_known_by_its_bytes() -> None:
    data = pictures.endless_jpeg(scans=2600, side=4000)

    assert share.count_scans(data) == 2601
    assert exceeds(data) == Postponed(Slowness.PICTURE)


def test_many_scans_of_a_small_picture_are_quick() -> None:
    assert exceeds(pictures.endless_jpeg(scans=2600, side=800)) is None


def test_a_marker_is_no_scan_where_it_is_cut_in_two() -> None:
    assert share.count_scans(b"") == share.count_scans(b"\xff") == 0
    assert share.count_scans(b"\xda\xff\xff\xda\xff") == 1


def test_scans_are_counted_in_files_of_any_length() -> None:
    marker, mib = b"\xff\xda", 1024 * 1024

    assert share.count_scans(bytes(mib - 1) + marker + bytes(mib) + marker) == 2
    assert share.count_scans(bytes(mib - 2) + marker + marker + bytes(mib)) == 2


def test_a_picture_that_needs_more_memory_than_an_ordinary_decoder_has_is_large() -> None:
    header = struct.pack(">IIBBBBB", 10_000, 12_000, 8, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header

    assert exceeds(data) == Postponed(Slowness.MEMORY)


def test_what_has_no_readable_header_is_left_to_the_decoder() -> None:
    assert share.probe(b"junk", sniff.Limits()) is None
    assert share.time_share(0).cpu_s > 0


def test_time_goes_by_size_up_to_a_bound_and_a_busy_machine_gives_more_of_it() -> None:
    small, photo, huge = (share.time_share(pixels) for pixels in (300_000, 12_000_000, 120_000_000))

    assert small.cpu_s < photo.cpu_s < huge.cpu_s == 2.0
    assert all(limit.wall_s == 5 * limit.cpu_s for limit in (small, photo, huge))
