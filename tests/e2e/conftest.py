"""One archive for all end-to-end tests; nobody kills anything in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive

#: Damaged and hostile pictures, where they are at hand.
NASTY = Path(__file__).parents[2] / "../shared/data/nasty"
SETTINGS = {
    "DECODE_TIMEOUT_S": "3",  # for the picture that keeps a decoder busy
    "DELIVERY_SCHEDULE_S": "0,1,2,5,10,30",  # a second try comes soon
}


@pytest.fixture(scope="package")
def archive() -> Iterator[RunningArchive]:
    """The whole archive; ends with the last test of this folder."""
    roots = {"nasty": NASTY} if NASTY.is_dir() else {}
    with running_archive("e2e", SETTINGS, roots) as started:
        yield started


@pytest.fixture
def receiver(archive: RunningArchive, tmp_path: Path) -> Iterator[CallbackReceiver]:
    """Where this test's callbacks go: believes only what `standardwebhooks` verifies."""
    with CallbackReceiver(archive.access.signing_secret, tmp_path / "callbacks") as listening:
        yield listening
