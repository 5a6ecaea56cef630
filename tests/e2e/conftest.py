"""One archive for all end-to-end tests; no test kills its processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.traces import SpanCollector
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive

#: A folder with damaged and hostile pictures, if there is one.
NASTY = Path(__file__).parents[2] / "../shared/data/nasty"
SETTINGS = {
    "DECODE_TIMEOUT_S": "3",  # one picture keeps a decoder busy until the limit
    "DELIVERY_SCHEDULE_S": "0,1,2,5,10,30",  # so that retries come soon
}


@pytest.fixture(scope="package")
def collector() -> Iterator[SpanCollector]:
    """Take the spans of all processes."""
    with SpanCollector() as collecting:
        yield collecting


@pytest.fixture(scope="package")
def archive(collector: SpanCollector) -> Iterator[RunningArchive]:
    """Start the whole archive; stop it after the last test of this folder."""
    roots = {"nasty": NASTY} if NASTY.is_dir() else {}
    settings = SETTINGS | {"TELEMETRY_OTLP_ENDPOINT": collector.endpoint}
    with running_archive("e2e", settings, roots) as started:
        yield started


@pytest.fixture
def receiver(archive: RunningArchive, tmp_path: Path) -> Iterator[CallbackReceiver]:
    """Start a receiver for this test's callbacks; it verifies them with `standardwebhooks`."""
    with CallbackReceiver(archive.access.signing_secret, tmp_path / "callbacks") as listening:
        yield listening
