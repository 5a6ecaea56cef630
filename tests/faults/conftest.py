"""One archive whose processes and broker are killed again and again, and a receiver beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.harness.members import database, kafka, members

__all__ = ["database", "kafka", "members"]  # fixtures of the runtime's own tests

SETTINGS = {
    "CONSUMER_BATCH_MAX_RECORDS": "8",  # many transactions to be killed in
    "DELIVERY_SCHEDULE_S": "0,1,2,5,10,30",
    # Twice this is the lease, after which what a killed delivery process held is due again.
    "DELIVERY_EXCHANGE_TIMEOUT_S": "5",
    "OUTBOX_SWEEP_AGE_S": "2",  # what a crash left is published after it
}


@pytest.fixture(scope="package")
def shaken() -> Iterator[RunningArchive]:
    """The whole archive; each test leaves it whole for the next."""
    with running_archive("faults", SETTINGS) as started:
        yield started


@pytest.fixture
def receiver(shaken: RunningArchive, tmp_path: Path) -> Iterator[CallbackReceiver]:
    """Where callbacks go; outlives the processes that are killed."""
    with CallbackReceiver(shaken.access.signing_secret, tmp_path / "callbacks") as listening:
        yield listening
