"""Walking a tree: its order, skipped files, and resuming after any path."""

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from core.blobs.kinds import Skip, wanted_extensions
from core.blobs.naming import RootedPath
from core.blobs.opening import open_beneath
from core.blobs.roots import Roots
from core.blobs.walking import Walk
from core.errors import ImageMissing

TREE = (
    "a/x.jpg", "a-b.jpg", "a.jpg", "a/y/z.PNG", "a0.jpeg", "b/raw.CR2", "b/film.mp4", "b/notes.txt",
    "b/.hidden.jpg", ".trash/c.jpg", "b/upload.jpg.part", "b/edit.jpg~", "@eaDir/t.jpg", "я/ё.webp",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "loop.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    return tmp_path


def paths(walk: Walk) -> list[bytes]:
    return [found.place.relative for found in walk]


def test_photos_come_in_the_byte_order_of_their_paths_and_the_rest_is_counted(root: Path) -> None:
    walk = Walk(Roots({"main": root}), RootedPath("main", b""))

    found = paths(walk)

    wanted = ["a-b.jpg", "a.jpg", "a/x.jpg", "a/y/z.PNG", "a0.jpeg", "я/ё.webp"]
    assert found == sorted(name.encode() for name in wanted)
    assert walk.skipped == Counter(
        {
            Skip.HIDDEN: 2, Skip.SYSTEM: 1, Skip.TEMPORARY: 2, Skip.SYMLINK: 2, Skip.RAW: 1,
            Skip.VIDEO: 1, Skip.UNSUPPORTED: 1, Skip.EMPTY: 1, Skip.NOT_REGULAR: 1,
        }
    )  # fmt: skip


def test_a_walk_resumed_after_any_path_gives_exactly_the_rest(root: Path) -> None:
    roots = Roots({"main": root})
    whole = paths(Walk(roots, RootedPath("main", b"")))

    for index, position in enumerate(whole):
        assert paths(Walk(roots, RootedPath("main", b""), after=position)) == whole[index + 1 :]
    assert paths(Walk(roots, RootedPath("main", b""), after=b"a/nothing")) == whole[2:]


def test_what_is_passed_over_is_counted_once_over_a_resumed_walk(root: Path) -> None:
    roots = Roots({"main": root})
    whole = Walk(roots, RootedPath("main", b""))
    paths(whole)

    first = Walk(roots, RootedPath("main", b""))
    for found in first:
        position = found.place.relative
        if position == b"a/x.jpg":
            break
    rest = Walk(roots, RootedPath("main", b""), after=position)
    paths(rest)

    assert first.skipped + rest.skipped == whole.skipped


def test_a_walk_below_the_root_gives_paths_from_the_root(root: Path) -> None:
    assert paths(Walk(Roots({"main": root}), RootedPath("main", b"a"))) == [
        b"a/x.jpg",
        b"a/y/z.PNG",
    ]


def test_a_filter_of_extensions_counts_what_it_leaves_out(root: Path) -> None:
    walk = Walk(
        Roots({"main": root}), RootedPath("main", b""), wanted=wanted_extensions((".PNG", "webp"))
    )

    assert paths(walk) == [b"a/y/z.PNG", "я/ё.webp".encode()]
    assert walk.skipped[Skip.FILTERED] == 6  # the empty one and the pipe among them


def test_a_start_behind_a_link_is_missing(root: Path) -> None:
    with pytest.raises(ImageMissing):
        paths(Walk(Roots({"main": root}), RootedPath("main", b"loop/a")))


def test_a_directory_that_vanishes_under_the_walk_is_counted(root: Path) -> None:
    walk = Walk(Roots({"main": root}), RootedPath("main", b""))
    steps = iter(walk)
    next(steps)
    (root / "я" / "ё.webp").unlink()
    (root / "я").rmdir()

    assert [found.place.relative for found in steps][-1] == b"a0.jpeg"
    assert walk.skipped[Skip.UNREADABLE] == 1


def test_a_directory_that_cannot_be_read_is_counted_and_the_walk_goes_on(root: Path) -> None:
    def failing_in_a(directory: int, relative: bytes, flags: int) -> int:
        if relative == b"a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_beneath(directory, relative, flags)

    walk = Walk(Roots({"main": root}, failing_in_a), RootedPath("main", b""))

    assert paths(walk) == [b"a-b.jpg", b"a.jpg", b"a0.jpeg", "я/ё.webp".encode()]
    assert walk.skipped[Skip.UNREADABLE] == 1
