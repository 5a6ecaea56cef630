"""Hundreds of damaged, odd and hostile pictures, sent through the command line and all roles."""

import base64
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.blobs.kinds import IMAGE_EXTENSIONS
from tests.e2e.archive import RunningArchive
from tests.e2e.conftest import NASTY
from tests.measured import Measured

DIRECT_PRODUCER = Path(__file__).with_name("direct_producer.py")
TIMEOUT_S = 240.0
SAMPLE_S = 0.5
LIMIT_MIB = 6000  # tagging with two decoders of at most 2 GiB each


@contextmanager
def peak_memory(archive: RunningArchive) -> Iterator[dict[str, float]]:
    """Yield the greatest memory of each process during the block, in MiB, with its children."""
    peaks: dict[str, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            for name, used in archive.memory_mib().items():
                peaks[name] = max(peaks.get(name, 0.0), used)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


@pytest.mark.skipif(not NASTY.is_dir(), reason="needs ../shared/data/nasty")
@pytest.mark.timeout(600)
def test_every_nasty_file_is_tagged_or_in_the_ledger_and_no_process_dies(
    archive: RunningArchive, measured: Measured, tmp_path: Path
) -> None:
    files = {path.name for path in NASTY.iterdir() if path.suffix != ".csv"}
    by_name = {name for name in files if _extension(name) in IMAGE_EXTENSIONS}
    pids = archive.pids()

    with peak_memory(archive) as peaks:
        began = time.monotonic()
        done = archive.command("images", str(NASTY), timeout_s=TIMEOUT_S)
        assert set(states(archive)) == by_name, done.stderr
        # Files that the command skips by their names are published directly.
        announce(archive, files - by_name, tmp_path / "records.json")
        archive.wait_for(
            lambda: set(states(archive)) == files, TIMEOUT_S, "not all files were judged"
        )
        took_s = time.monotonic() - began

    fates = states(archive)
    assert set(fates.values()) <= {"tagged", "failed"}
    failed = archive.sql(
        "SELECT i.path, f.reason, f.detail FROM failures f JOIN images i USING (image_id)"
        " WHERE i.path LIKE 'nasty/%'"
    )
    assert {row["path"].removeprefix("nasty/") for row in failed} == {
        name for name, fate in fates.items() if fate == "failed"
    }
    assert all(row["reason"] and row["detail"] for row in failed)
    tagged = archive.value(
        "SELECT count(*) FROM tagged_images WHERE image_path LIKE 'nasty/%' AND tags <> '[]'"
    )
    measured(
        f"{len(files)} files in {took_s:.0f} s: {tagged} tagged, {len(failed)} failed"
        f" {dict(Counter(row['reason'] for row in failed))}; peak memory in MiB {peaks}"
    )
    assert tagged == Counter(fates.values())["tagged"] > len(files) / 2
    assert archive.pids() == pids, "a process died"
    assert peaks["tagging-0"] < LIMIT_MIB


def states(archive: RunningArchive) -> dict[str, str]:
    """Return the status of the image by file name."""
    rows = archive.sql("SELECT path, status FROM images WHERE path LIKE 'nasty/%'")
    return {row["path"].removeprefix("nasty/"): row["status"] for row in rows}


def announce(archive: RunningArchive, names: Iterable[str], file: Path) -> None:
    """Publish files as a foreign program would."""
    uris = [f"file:nasty/{name}" for name in sorted(names)]
    events = [base64.b64encode(json.dumps({"uri": uri}).encode()).decode() for uri in uris]
    records = [
        {"key": uri, "headers": {}, "value": event} for uri, event in zip(uris, events, strict=True)
    ]
    file.write_text(json.dumps(records))
    done = archive.run(sys.executable, str(DIRECT_PRODUCER), archive.bootstrap, str(file))
    assert done.returncode == 0, done.stderr


def _extension(name: str) -> bytes:
    return Path(name).suffix[1:].lower().encode()
