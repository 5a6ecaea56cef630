"""A steady load with a kill every few seconds: nothing is lost, repeated or leaked."""

import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.harness.ledger import AUDIT
from tests.faults.harness.load import (
    in_background,
    tagged_count,
    tiny_photos,
    wait_until_tagged,
)
from tests.faults.harness.once_each import CATCH_UP_S, Accepted, assert_once_each
from tests.faults.harness.persistence import upload_through
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
PREFIX = "soak-"
# Growth allowed between early and late: allocators vary; a leak under this load is larger.
MEMORY_MIB, DESCRIPTORS, TASKS = 48, 12, 12


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
        assert_once_each(archive, receiver, accepted, measured)
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
