"""Files and directories under the allowed roots, on a real file system."""

import os
from pathlib import Path

import pytest

from core.blobs.roots import Roots
from core.errors import BlobStoreAway, ImageMissing
from ingress.reading.files import RootedDirectory, RootedFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "a.jpg").write_bytes(b"12345")
    (folder / "2024" / "обед 100%.jpg").write_bytes(b"1")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return folder


@pytest.fixture
def archive(root: Path) -> RootedFiles:
    return RootedFiles(Roots({"photos": root}))


async def test_a_file_is_found_by_its_root_and_by_its_absolute_path(
    archive: RootedFiles, root: Path
) -> None:
    by_name = await archive.file("photos/2024/a.jpg")
    by_path = await archive.file(str(root / "2024" / "a.jpg"))

    assert by_name == by_path
    assert by_name.uri == "file:photos/2024/a.jpg"
    assert by_name.image_path == "photos/2024/a.jpg"
    assert by_name.size_bytes == 5


async def test_an_absolute_path_with_a_percent_sign_gets_its_canonical_uri(
    archive: RootedFiles, root: Path
) -> None:
    found = await archive.file(str(root / "2024" / "обед 100%.jpg"))

    assert found.uri == "file:photos/2024/обед 100%25.jpg"


@pytest.mark.parametrize(
    "path",
    [
        "photos/none.jpg",
        "photos/2024",
        "photos",
        "other/2024/a.jpg",
        "photos/../secret.jpg",
        "photos/2024/../../secret.jpg",
        "photos//2024/a.jpg",
        "photos/./2024/a.jpg",
        "/etc/passwd",
        "/proc/self/environ",
        "a.jpg",
        "",
        "photos/" + "x" * 300,
        "photos/" + "x/" * 1900,
        "/" + "x" * 3999,
    ],
)
async def test_what_is_not_there_or_not_allowed_is_missing(archive: RootedFiles, path: str) -> None:
    with pytest.raises(ImageMissing):
        await archive.file(path)


async def test_a_relative_climb_of_an_absolute_path_is_missing(
    archive: RootedFiles, root: Path
) -> None:
    with pytest.raises(ImageMissing):
        await archive.file(f"{root}/../secret.jpg")


@pytest.mark.parametrize("made", ["nothing", "a folder", "a link away", "a link back"])
@pytest.mark.parametrize(
    "path",
    [
        "{outside}/../photos/2024/a.jpg",
        "{root}/../outside/../photos/2024/a.jpg",
        "{root}/2024/../2024/a.jpg",
        "{outside}/2024/a.jpg",
        "{outside}/photos/2024/a.jpg",
    ],
)
async def test_an_answer_tells_nothing_of_what_lies_outside(
    archive: RootedFiles, root: Path, path: str, made: str
) -> None:
    outside = root.parent / "outside"
    if made == "a folder":
        outside.mkdir()
    elif made != "nothing":
        (root.parent / "deep" / "er").mkdir(parents=True)
        outside.symlink_to(root if made == "a link back" else root.parent / "deep" / "er")

    for look in (archive.file, archive.directory):
        with pytest.raises(ImageMissing):
            await look(path.format(root=root, outside=outside))


async def test_a_root_behind_a_link_is_found_by_both_of_its_paths(root: Path) -> None:
    link = root.parent / "pictures"
    link.symlink_to(root)
    archive = RootedFiles(Roots({"photos": link}))

    for folder in (link, root):
        found = await archive.file(f"{folder}/2024/a.jpg")
        assert found.uri == "file:photos/2024/a.jpg"


async def test_the_deepest_root_wins(root: Path) -> None:
    archive = RootedFiles(Roots({"photos": root, "album": root / "2024"}))

    assert (await archive.file(f"{root}/2024/a.jpg")).uri == "file:album/a.jpg"
    assert await archive.directory(f"{root}/2024/") == RootedDirectory("album", "")


async def test_a_link_out_of_the_root_is_missing(archive: RootedFiles, root: Path) -> None:
    (root / "link.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "out").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")

    for path in ("photos/link.jpg", "photos/out/secret.jpg", "photos/loop/a.jpg"):
        with pytest.raises(ImageMissing):
            await archive.file(path)
    for name in ("link.jpg", "out/secret.jpg", "loop/a.jpg"):
        with pytest.raises(ImageMissing):
            await archive.file(str(root / name))


async def test_a_pipe_is_missing_and_does_not_hang(archive: RootedFiles, root: Path) -> None:
    os.mkfifo(root / "pipe.jpg")

    with pytest.raises(ImageMissing):
        await archive.file("photos/pipe.jpg")


async def test_a_root_that_is_not_mounted_is_an_outage(root: Path) -> None:
    archive = RootedFiles(Roots({"photos": root / "unmounted"}))

    with pytest.raises(BlobStoreAway):
        await archive.file("photos/a.jpg")


async def test_a_directory_is_found_and_counted(archive: RootedFiles, root: Path) -> None:
    (root / "2024" / "b.png").write_bytes(b"1")
    (root / "2024" / "notes.txt").write_bytes(b"1")

    place = await archive.directory("photos/2024")

    assert place == RootedDirectory("photos", "2024")
    assert await archive.directory(str(root)) == RootedDirectory("photos", "")
    assert await archive.count(place, None, within_s=5) == 3
    assert await archive.count(place, [".PNG"], within_s=5) == 1


async def test_a_file_and_a_link_are_no_directories(archive: RootedFiles, root: Path) -> None:
    (root / "out").symlink_to(root.parent)

    for path in ("photos/2024/a.jpg", "photos/out", "photos/none", "/etc", "other"):
        with pytest.raises(ImageMissing):
            await archive.directory(path)


async def test_counting_ends_with_its_time(archive: RootedFiles) -> None:
    assert await archive.count(RootedDirectory("photos", ""), None, within_s=0) is None


def test_without_roots_nothing_is_open() -> None:
    assert not RootedFiles(Roots({})).is_open
