"""Reading under the allowed roots, on a real file system, by both ways of opening."""

import errno
import hashlib
import os
import socket
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from core.blobs import opening
from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.errors import BlobStoreAway, ImageMissing, ImageUnreadable

LIMIT = 1000


Opener = Callable[[int, bytes, int], int]


@pytest.fixture(params=[opening.open_at_once, opening.open_by_component])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param is opening.open_at_once and not opening.has_openat2():
        pytest.skip("no openat2 on this kernel")
    chosen: Opener = request.param
    return chosen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "root" / "album").mkdir(parents=True)
    (tmp_path / "root" / "album" / "a.jpg").write_bytes(b"photo")
    return tmp_path / "root"


@pytest.fixture
def roots(root: Path, opener: Opener) -> Roots:
    return Roots({"main": root}, opener)


def read(roots: Roots, relative: bytes) -> bytes:
    return roots.read(RootedPath("main", relative), max_bytes=LIMIT)[0]


def test_a_file_is_read_with_its_signature(roots: Roots, root: Path) -> None:
    content, signature = roots.read(RootedPath("main", b"album/a.jpg"), max_bytes=LIMIT)

    assert content == b"photo"
    assert signature == roots.look(RootedPath("main", b"album/a.jpg"))
    assert signature.inode == (root / "album" / "a.jpg").stat().st_ino


def test_missing_forbidden_and_special_files_give_the_same_error(roots: Roots, root: Path) -> None:
    (root / "link.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "inner.jpg").symlink_to("album/a.jpg")
    (root / "away").symlink_to(root.parent)
    os.mkfifo(root / "pipe.jpg")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(root / "sock.jpg"))  # an absolute one may be over 108 bytes
    listener.close()
    messages = set()
    for name in (
        b"nothing.jpg", b"link.jpg", b"inner.jpg", b"away/secret.jpg", b"pipe.jpg", b"sock.jpg",
        b"album", b"album/a.jpg/b", b"../secret.jpg", b"album/../../secret.jpg", b"x" * 256,
        b"a.jpg\x00", b"d/" * 3000 + b"a.jpg",
    ):  # fmt: skip
        with pytest.raises(ImageMissing) as caught:
            read(roots, name)
        assert caught.value.reason == "image_missing"
        messages.add(str(caught.value).partition(": ")[2])
    assert messages == {"no such file under the allowed roots"}


def test_devices_and_magic_links_are_not_opened(opener: Opener) -> None:
    with pytest.raises(ImageMissing):
        Roots({"dev": Path("/dev")}, opener).read(RootedPath("dev", b"zero"), max_bytes=LIMIT)
    with pytest.raises(ImageMissing):
        Roots({"proc": Path("/proc")}, opener).read(
            RootedPath("proc", b"%d/root/etc/passwd" % os.getpid()), max_bytes=LIMIT
        )


@pytest.mark.parametrize("relative", [b"../secret.jpg", b"album/../../secret.jpg", b".."])
def test_an_opener_never_leaves_its_directory_even_where_nobody_looked_at_the_path(
    root: Path, opener: Opener, relative: bytes
) -> None:
    directory = opening.open_trusted(root)
    try:
        with pytest.raises(OSError) as refused:
            opener(directory, relative, opening.FILE_FLAGS)
    finally:
        os.close(directory)
    assert refused.value.errno == errno.EXDEV


def test_a_directory_swapped_for_a_link_never_leads_out(roots: Roots, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"secret")
    trap = root / "trap"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            trap.mkdir()
            (trap / "a.jpg").write_bytes(b"photo")
            trap.rename(root / "aside")
            trap.symlink_to(outside)
            trap.unlink()
            (root / "aside").rename(trap)
            (trap / "a.jpg").unlink()
            trap.rmdir()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(roots, b"trap/a.jpg"))
            except (ImageMissing, ImageUnreadable, BlobStoreAway) as error:
                seen.add(type(error).__name__.encode())
    finally:
        stop.set()
        swapper.join()
    assert b"secret" not in seen
    assert seen - {b"", b"photo"} <= {b"ImageMissing", b"ImageUnreadable"}


def test_a_file_over_the_limit_is_refused_with_both_figures(roots: Roots, root: Path) -> None:
    (root / "big.jpg").write_bytes(b"x" * (LIMIT + 1))
    (root / "full.jpg").write_bytes(b"x" * LIMIT)

    assert len(read(roots, b"full.jpg")) == LIMIT
    with pytest.raises(ImageUnreadable, match=r"1001 bytes.*1000") as caught:
        read(roots, b"big.jpg")
    assert caught.value.reason == "image_too_large"


def test_names_are_bytes_of_up_to_255_in_any_encoding(roots: Roots, root: Path) -> None:
    names = [
        b"\xff\xfe.jpg",
        "я".encode() * 125 + b"z.jpg",
        unicodedata.normalize("NFC", "é.jpg").encode(),
        unicodedata.normalize("NFD", "é.jpg").encode(),
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    for name in names:
        assert roots.read_uri(RootedPath("main", name).uri, max_bytes=LIMIT) == name


def test_a_root_that_is_not_there_is_an_outage_and_no_missing_photo(tmp_path: Path) -> None:
    roots = Roots({"usb": tmp_path / "unplugged"})

    with pytest.raises(BlobStoreAway, match="usb"):
        roots.read(RootedPath("usb", b"a.jpg"), max_bytes=LIMIT)
    assert roots.gone_from(RootedPath("usb", b"a.jpg")) is None


def test_only_a_file_that_is_truly_absent_is_gone(roots: Roots, root: Path) -> None:
    device = root.stat().st_dev
    (root / "link.jpg").symlink_to("nowhere")

    assert roots.gone_from(RootedPath("main", b"album/a.jpg")) is None
    assert roots.gone_from(RootedPath("main", b"link.jpg")) is None
    assert roots.gone_from(RootedPath("main", b"album/b.jpg")) == device
    assert roots.gone_from(RootedPath("main", b"no/such/album/b.jpg")) == device


def test_the_digest_is_that_of_the_bytes_and_bound_to_their_signature(
    roots: Roots, root: Path
) -> None:
    place = RootedPath("main", b"album/a.jpg")

    assert roots.digest(place, max_bytes=LIMIT) == (
        hashlib.sha256(b"photo").digest(),
        roots.look(place),
    )
    with pytest.raises(ImageUnreadable):
        roots.digest(place, max_bytes=4)


def test_an_unknown_root_is_missing(roots: Roots) -> None:
    with pytest.raises(ImageMissing):
        roots.read(RootedPath("other", b"a.jpg"), max_bytes=LIMIT)


def test_a_path_of_the_host_has_one_place_and_the_deepest_root_wins(
    roots: Roots, root: Path
) -> None:
    (root / "shortcut").symlink_to(root / "album")
    nested = Roots({"main": root, "album": root / "album"})

    assert roots.place_of(root / "shortcut" / "a.jpg") == RootedPath("main", b"album/a.jpg")
    assert roots.place_of(root) == RootedPath("main", b"")
    assert roots.place_of(root.parent / "secret.jpg") is None
    assert nested.place_of(root / "album" / "a.jpg") == RootedPath("album", b"a.jpg")


def test_a_sibling_whose_name_begins_with_the_roots_name_lies_under_no_root(tmp_path: Path) -> None:
    for name in ("photos", "photos-private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"photo")
    roots = Roots({"photos": tmp_path / "photos"})

    assert roots.place_of(tmp_path / "photos" / "a.jpg") == RootedPath("photos", b"a.jpg")
    assert roots.place_of(tmp_path / "photos-private" / "a.jpg") is None
    assert roots.place_of(tmp_path / "photos-private") is None


def test_a_link_to_a_directory_inside_the_root_is_not_followed_either(
    roots: Roots, root: Path
) -> None:
    (root / "album2").symlink_to("album")

    with pytest.raises(ImageMissing):
        read(roots, b"album2/a.jpg")
    assert not roots.is_directory(RootedPath("main", b"album2"))
    with pytest.raises(ImageMissing):
        roots.look(RootedPath("main", b"album2/a.jpg"))


def test_no_descriptor_is_left_open(roots: Roots) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in (b"album/a.jpg", b"nothing.jpg", b"album", b"../x"):
        for _ in range(20):
            try:
                read(roots, name)
                roots.look(RootedPath("main", name))
            except ImageMissing:
                pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (errno.EIO, ImageUnreadable, "read_failed"),
        (errno.EACCES, ImageMissing, "image_missing"),
        (errno.ESTALE, BlobStoreAway, None),
        (errno.EMFILE, BlobStoreAway, None),
    ],
)
def test_a_bad_sector_costs_one_photo_and_a_lost_mount_is_an_outage(
    root: Path, code: int, error: type[Exception], reason: str | None
) -> None:
    def failing(_directory: int, _relative: bytes, _flags: int) -> int:
        raise OSError(code, os.strerror(code))

    broken = Roots({"main": root}, failing)

    with pytest.raises(error) as caught:
        read(broken, b"album/a.jpg")
    assert getattr(caught.value, "reason", None) == reason
    assert broken.gone_from(RootedPath("main", b"album/a.jpg")) is None
