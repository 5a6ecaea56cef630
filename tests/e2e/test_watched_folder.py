"""A folder is watched while files appear in it in various ways: each is announced once."""

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.topics import IMAGES_ARRIVED, IMAGES_BULK
from standalone.processes.child_process import guarded
from standalone.supervision.role_keepers import PROJECT
from tests.command import COMMAND
from tests.e2e.archive import RunningArchive
from tests.fakes.pictures import jpeg
from tests.measured import Measured

FOLDERS = 20
FILES = 400
SETTLE_S = 3.0  # long enough to write the second halves of a hundred files on a busy machine
PAUSE_S = 0.4  # between the halves of a file that is written slowly; less than SETTLE_S
TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0


@contextmanager
def watching(archive: RunningArchive, folder: Path) -> Iterator[None]:
    """Run `photo-archive watch`; stop it by SIGTERM as a service manager would."""
    arguments = ["watch", str(folder), "--settle", str(SETTLE_S), "--poll", "2"]
    process = subprocess.Popen(
        guarded([COMMAND, *arguments]),
        cwd=PROJECT,
        env=archive.supervisor.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=STOP_TIMEOUT_S)
        assert process.returncode == 0, errors
    finally:
        process.kill()


def write(file: Path, content: bytes) -> None:
    """Write a file in one go, as most programs do."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def write_slowly(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write half of each file, pause, then write the rest, as a slow network does."""
    opened = []
    for file, content in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        target = file.open("wb")
        target.write(content[: len(content) // 2])
        target.flush()
        opened.append((target, content[len(content) // 2 :]))
    time.sleep(PAUSE_S)
    for target, rest in opened:
        target.write(rest)
        target.close()


def rename_in(file: Path, content: bytes) -> None:
    """Write under another name and rename, as browsers and sync clients do."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.write_bytes(content)
    partial.rename(file)


def move_tree_in(files: Sequence[tuple[Path, bytes]], top: Path, elsewhere: Path) -> None:
    """Move a whole tree in, as from another folder of the same disk."""
    for file, content in files:
        write(elsewhere / file.relative_to(top), content)
    elsewhere.rename(top)


def test_four_hundred_files_are_announced_and_tagged_none_twice(
    archive: RunningArchive, measured: Measured
) -> None:
    folder = archive.photos / "watched"
    folder.mkdir()
    places = [folder / f"{n % FOLDERS:02}" / "deep" / f"er {n % 3}" / f"{n}.jpg"
              for n in range(FILES)]  # fmt: skip
    files = [(place, jpeg(400_000 + n, (64, 48))) for n, place in enumerate(places)]
    tree = [pair for pair in files if pair[0].is_relative_to(folder / "00")]
    first, *rest = [pair for pair in files if not pair[0].is_relative_to(folder / "00")]
    began = time.monotonic()

    with watching(archive, folder):
        write(*first)
        archive.wait_for(lambda: known(archive) == 1, TIMEOUT_S, "it does not watch")
        slow = threading.Thread(target=write_slowly, args=(rest[0::4],))
        slow.start()
        for place, content in rest[1::4]:
            write(place, content)
        slow.join()
        archive.wait_for(lambda: known(archive) > 100, TIMEOUT_S, "nothing is announced")
    for place, content in rest[2::4]:  # written while no watcher runs
        write(place, content)
    with watching(archive, folder):
        for place, content in rest[3::4]:
            rename_in(place, content)
        move_tree_in(tree, folder / "00", archive.photos / f"elsewhere-{os.getpid()}")
        archive.wait_for(lambda: known(archive) >= FILES, TIMEOUT_S, "files were not announced")
        took_s = time.monotonic() - began
        time.sleep(2 * SETTLE_S)  # a second announcement would have come by now

    announced = Counter(
        json.loads(record.value).get("uri")
        for topic in (IMAGES_ARRIVED, IMAGES_BULK)  # many at once take the bulk lane
        for record in archive.topic(topic.name)
        if b"photos/watched/" in record.value
    )
    wanted = {f"file:photos/{place.relative_to(archive.photos)}" for place in places}
    measured(f"{FILES} files in {FOLDERS} folders announced in {took_s:.1f} s, one restart")
    assert set(announced) == wanted
    assert set(announced.values()) == {1}
    tagged = "SELECT count(*) FROM tagged_images WHERE image_path LIKE 'photos/watched/%'"
    archive.wait_for(lambda: archive.value(tagged) == FILES, TIMEOUT_S, "not all were tagged")


def known(archive: RunningArchive) -> int:
    """Return how many files the ledger has."""
    return int(archive.value("SELECT count(*) FROM watched_files"))
