"""An archive whose processes and broker are killed repeatedly, and a receiver."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.harness.members import database, kafka, members

__all__ = ["database", "kafka", "members"]  # fixtures of the runtime's tests

SETTINGS = {
    "CONSUMER_BATCH_MAX_RECORDS": "8",  # small batches, so that there are many transactions to kill
    "DELIVERY_SCHEDULE_S": "0,1,2,5,10,30",
    # Twice this is the lease, after which what a killed delivery process held is due again.
    "DELIVERY_EXCHANGE_TIMEOUT_S": "5",
    "OUTBOX_SWEEP_AGE_S": "2",  # after this time events left by a crash are published
}


@pytest.fixture(scope="package")
def shaken() -> Iterator[RunningArchive]:
    """Start the whole archive; each test leaves it running for the next."""
    with running_archive("faults", SETTINGS) as started:
        yield started


@pytest.fixture
def receiver(shaken: RunningArchive, tmp_path: Path) -> Iterator[CallbackReceiver]:
    """Start a receiver of callbacks; it is never killed."""
    with CallbackReceiver(shaken.access.signing_secret, tmp_path / "callbacks") as listening:
        yield listening
