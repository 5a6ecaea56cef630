"""SIGKILL of each broker in turn: no upload is refused, nothing is lost, nothing comes twice."""

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.harness.ledger import AUDIT
from tests.faults.harness.load import (
    ask_all,
    in_background,
    is_well,
    tagged_count,
    tiny_photos,
    wait_until_tagged,
)
from tests.faults.harness.once_each import CATCH_UP_S, Accepted, assert_once_each
from tests.faults.harness.persistence import upload_through
from tests.measured import Measured
from tests.servers import execute, run_apart

KILLS = 3  # of each broker
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
PHOTOS, QUERIES = 40, 8  # of each round of the load
BACK_S = 240.0  # the session of the dead one, an election, recovery; a busy machine
PREFIX = "brokers-"
SETTINGS = {
    "INGRESS_REQUESTS_PER_SECOND": "100000",
    "OUTBOX_SWEEP_AGE_S": "2",
    "TAGGING_TORCH_THREADS": "1",
}
GAP = """
SELECT max(extract(epoch FROM at - before))::float8 AS gap FROM (
    SELECT at, lag(at) OVER (ORDER BY at) AS before FROM written WHERE what = 'tagged_images'
) AS each
"""


@dataclass(slots=True)
class SteadyLoad:
    """Uploads and queries, round after round, until it is told to end."""

    archive: RunningArchive
    callback_url: str
    ended: threading.Event = field(default_factory=threading.Event)
    accepted: Accepted = field(default_factory=Accepted)
    rounds: int = 0

    def has_passed(self, rounds: int) -> bool:
        """Return whether it is beyond this number of rounds."""
        return self.rounds > rounds

    def run(self) -> None:
        """Send rounds. Of a query nothing but a 202 is taken as an answer."""
        while not self.ended.is_set():
            photos = tiny_photos(PHOTOS, first_seed=5_000_000 + self.rounds * PHOTOS)
            url, key = self.archive.supervisor.ingress_url, self.archive.access.key
            done = upload_through(url, key, photos, f"{PREFIX}{self.rounds}-")
            self.accepted.add(done)
            self.accepted.queries += ask_all(self.archive, self.callback_url, QUERIES, pause_s=0)
            self.rounds += 1


def kill_in_turn(archive: RunningArchive, load: SteadyLoad) -> list[float]:
    """Kill each broker, the next one when the one before is there; return the times till then."""
    took: list[float] = []
    for number in range(KILLS * len(BROKERS)):
        name, before = BROKERS[number % len(BROKERS)], load.rounds
        began, pid = time.monotonic(), archive.kill(name)
        archive.wait_until_restarted(name, pid, BACK_S)
        archive.wait_for(lambda: is_well(archive), BACK_S, "the archive is not well again")
        took.append(time.monotonic() - began)
        archive.wait_for(partial(load.has_passed, before), BACK_S, "the load stands still")
    return took


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_each_broker_of_three_is_killed_three_times_and_nothing_is_refused_lost_or_repeated(
    tmp_path: Path, measured: Measured
) -> None:
    with (
        running_archive("brokers", SETTINGS, brokers=len(BROKERS)) as archive,
        CallbackReceiver(archive.access.signing_secret, tmp_path / "callbacks") as receiver,
    ):
        run_apart(execute(archive.database_url, AUDIT))
        pids, load = archive.pids(), SteadyLoad(archive, receiver.url)
        with in_background(load.run) as sent:
            try:
                took = kill_in_turn(archive, load)
            finally:
                load.ended.set()
            sent()
        accepted, photos = load.accepted, load.rounds * PHOTOS
        wait_until_tagged(archive, PREFIX, photos, CATCH_UP_S)
        measured(
            f"{len(took)} kills, {photos} photos and {len(accepted.queries)} queries;"
            f" a broker was back after {min(took):.1f} to {max(took):.1f} s; at most"
            f" {archive.value(GAP):.1f} s without a photo tagged"
        )

        assert set(accepted.answers) == {202}, "an upload was refused"
        assert len(accepted.images) == tagged_count(archive, PREFIX) == photos
        assert len(set(accepted.queries)) == load.rounds * QUERIES
        assert assert_once_each(archive, receiver, accepted, measured) == 0, "a webhook came twice"
        now = archive.pids()
        assert {name: now[name] for name in now if name not in BROKERS} == {
            name: pids[name] for name in pids if name not in BROKERS
        }, "a role ended"
