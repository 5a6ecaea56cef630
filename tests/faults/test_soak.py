"""A steady load with a kill every few seconds: nothing is lost, repeated or leaked."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from schemas.topics import IMAGES_ARRIVED, IMAGES_TAGGED
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.harness.ledger import AUDIT
from tests.faults.harness.load import (
    assert_progress_is_at_the_end,
    callbacks_until,
    duplicates,
    in_background,
    tagged_count,
    tiny_photos,
    told_about,
    told_about_all,
    wait_until_tagged,
)
from tests.faults.harness.persistence import Uploaded, upload_through
from tests.faults.harness.soaking import (
    SURVIVORS,
    Watch,
    ask_through,
    dying,
    early_and_late,
    roles_twice,
    sampled,
)
from tests.measured import Measured
from tests.servers import execute, run_apart

SETTINGS = {
    "DELIVERY_SCHEDULE_S": "0,1,2,5,10,30,60,60",
    "DELIVERY_EXCHANGE_TIMEOUT_S": "5",
    "OUTBOX_SWEEP_AGE_S": "2",
    "INGRESS_REQUESTS_PER_SECOND": "100000",
    # Two tagging processes share few cores with all else: threads that wait for each other after
    # each layer are then several times slower than one thread.
    "TAGGING_TORCH_THREADS": "1",
}
ROUND = 1000  # photos between two checks of tagging's progress
BACKLOG = 4000  # photos; with more, the end of the test would run without load
CATCH_UP_S = 600.0
PREFIX = "soak-"
# Growth allowed between early and late: allocators vary; a leak under this load is larger.
MEMORY_MIB, DESCRIPTORS, TASKS = 48, 12, 12


@dataclass(slots=True)
class Accepted:
    """The requests that were accepted.

    Attributes:
        answers: number of answers per status, see `Uploaded`.
        unanswered: per image, how often it may have been stored without the client's knowing.
    """

    images: set[str] = field(default_factory=set)
    queries: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)

    def add(self, done: Uploaded) -> None:
        """Add a round of uploads."""
        self.answers += done.answers
        for number, (image_id,) in done.ids.items():
            self.images.add(image_id)
            self.unanswered[image_id] += done.unanswered[number]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(("photos", "queries"), [(4_000, 800), (100_000, 20_000)])
def test_a_long_load_under_kills_loses_nothing_and_leaks_nothing(
    tmp_path: Path, measured: Measured, photos: int, queries: int
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    roles, urls = roles_twice()
    with (
        running_archive("soak", SETTINGS, roles=roles) as archive,
        CallbackReceiver(archive.access.signing_secret, tmp_path / "callbacks") as receiver,
        sampled(archive, urls) as watch,
    ):
        run_apart(execute(archive.database_url, AUDIT))
        faces = [archive.supervisor.ingress_url, urls["ingress-1"]]
        lived = {name: archive.pids()[name] for name in SURVIVORS}
        began = time.monotonic()
        with dying(archive, random.Random(seed)) as deaths:
            accepted = _load(archive, faces, receiver.url, photos, queries)
            wait_until_tagged(archive, PREFIX, photos, CATCH_UP_S)
        measured(
            f"seed {seed}: {photos} photos and {queries} queries in"
            f" {time.monotonic() - began:.0f} s through {deaths.total()} kills {dict(deaths)};"
            f" answers to uploads {dict(accepted.answers)}"
        )
        for line in _use(watch):
            measured(line)
        assert len(accepted.images) == tagged_count(archive, PREFIX) == photos
        assert len(accepted.queries) == len(set(accepted.queries)) == queries
        _assert_once_each(archive, receiver, accepted, measured)
        assert {name: archive.pids()[name] for name in SURVIVORS} == lived, "one ended by itself"
        _assert_flat(watch)


def _load(
    archive: RunningArchive, faces: Sequence[str], callback_url: str, photos: int, queries: int
) -> Accepted:
    """Upload and submit queries in rounds, as fast as tagging keeps up."""
    accepted = Accepted()
    for number, at in enumerate(range(0, photos, ROUND)):
        wait_until_tagged(archive, PREFIX, at - BACKLOG, CATCH_UP_S)
        upload = partial(
            upload_through,
            faces[number % len(faces)],
            archive.access.key,
            tiny_photos(ROUND, first_seed=1_000_000 + at),
            f"{PREFIX}{at}-",
        )
        with in_background(upload) as uploading:
            part = queries * ROUND // photos
            accepted.queries += ask_through(faces, archive.access.key, callback_url, part)
            done = uploading()
        accepted.add(done)
    return accepted


def _assert_once_each(
    archive: RunningArchive, receiver: CallbackReceiver, accepted: Accepted, measured: Measured
) -> None:
    came = callbacks_until(receiver, len(accepted.queries), CATCH_UP_S, quiet_s=10)
    images = sorted(accepted.images)
    arrived = told_about(archive, images, IMAGES_ARRIVED)
    told = told_about_all(archive, images, IMAGES_TAGGED)
    again = sum(len(events) - 1 for events in arrived.ids.values())
    measured(
        f"{told.duplicates} events and {duplicates(came)} webhooks twice on the wire;"
        f" {again} uploads repeated by a client that had no answer to the first"
    )
    assert not [one for one in images if len(arrived.ids[one]) > 1 + accepted.unanswered[one]], (
        "an upload was announced again that nobody repeated"
    )
    writes = effects(archive, "tagged_images")
    assert writes.keys() >= set(images)
    assert not [one for one in images if writes[one] > arrived.records[one]], (
        "an arrival took effect twice"
    )
    for what in ("queries", "deliveries"):
        assert effects(archive, what) == Counter(accepted.queries), f"{what}: not once each"
    assert not effects(archive, "undone"), "a delivery that was made was due again"
    assert set(came) == set(accepted.queries)
    assert {len(counts) for counts in came.values()} == {1}, "an answer had two webhook ids"
    assert archive.value("SELECT count(*) FROM dead_letters") == 0
    open_still = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM deliveries WHERE"
    open_still += " state <> 'delivered')"
    archive.wait_for(lambda: not archive.value(open_still), 120, "something is never finished")
    for group in ("tagging", "query"):
        assert_progress_is_at_the_end(archive, group)


def effects(archive: RunningArchive, what: str) -> Counter[str]:
    """Return how often each image or query was written, counted by triggers, see `AUDIT`."""
    rows = archive.sql("SELECT id, count(*) AS n FROM written WHERE what = $1 GROUP BY id", what)
    return Counter({row["id"]: int(row["n"]) for row in rows})


def _use(watch: Watch) -> list[str]:
    """Return the resources of the survivors, early → late."""
    lines = []
    for name, series in watch.roles.items():
        pairs = (series.memory_mib, series.descriptors, series.tasks)
        memory, descriptors, tasks = (
            "{:.0f} → {:.0f}".format(*early_and_late(samples)) for samples in pairs
        )
        lines.append(
            f"{name}, {len(series.tasks)} samples: memory {memory} MiB,"
            f" file descriptors {descriptors}, tasks {tasks}"
        )
    connections, kafka = (
        "{:.0f} → {:.0f}".format(*early_and_late(samples))
        for samples in (watch.connections, watch.kafka_descriptors)
    )
    return [*lines, f"sessions of PostgreSQL {connections}; descriptors of Kafka {kafka}"]


def _assert_flat(watch: Watch) -> None:
    for name, series in watch.roles.items():
        for what, samples, most in (
            ("memory, MiB", series.memory_mib, MEMORY_MIB),
            ("file descriptors", series.descriptors, DESCRIPTORS),
            ("tasks", series.tasks, TASKS),
        ):
            early, late = early_and_late(samples)
            assert late - early <= most, f"{name}: {what}: {early:.0f} → {late:.0f}"
    early, late = early_and_late(watch.connections)
    assert late - early <= DESCRIPTORS, f"sessions of PostgreSQL: {early:.0f} → {late:.0f}"
