"""Every process is stopped as asked and started again, one after the other, under load."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from schemas.topics import IMAGES_TAGGED
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.harness.load import (
    assert_progress_is_at_the_end,
    callbacks_until,
    duplicates,
    in_background,
    tagged_count,
    tiny_photos,
    told_about_all,
    wait_until_tagged,
)
from tests.faults.harness.persistence import Uploaded, upload_through
from tests.faults.harness.soaking import SURVIVORS, ask_through, roles_twice
from tests.measured import Measured

PHOTOS, QUERIES = 200, 40  # of each restart
CATCH_UP_S = 600.0
RESTART_S = 180.0  # a process that loads torch, on two busy cores
PREFIX = "rolling-"
#: All that serve, each beside a second one of its kind.
NAMES = ("ingress", "tagging-0", "query-0", "delivery-0", *SURVIVORS)
SETTINGS = {"TAGGING_TORCH_THREADS": "1", "INGRESS_REQUESTS_PER_SECOND": "100000"}


def restart(archive: RunningArchive, name: str) -> float:
    """Stop a process as a supervisor does; return how long it took until it was there again."""
    began, pid = time.monotonic(), archive.pids()[name]
    os.kill(pid, signal.SIGTERM)
    archive.wait_until_restarted(name, pid, RESTART_S)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_processes_are_restarted_one_by_one_under_load_and_nothing_is_lost_or_repeated(
    tmp_path: Path, measured: Measured
) -> None:
    roles, urls = roles_twice()
    with (
        running_archive("rolling", SETTINGS, roles=roles) as archive,
        CallbackReceiver(archive.access.signing_secret, tmp_path / "callbacks") as receiver,
    ):
        faces = [archive.supervisor.ingress_url, urls["ingress-1"]]
        took: dict[str, float] = {}
        images: set[str] = set()
        ids: list[str] = []
        repeated = 0
        for number, name in enumerate(NAMES):
            with (
                in_background(partial(_upload, archive, faces[number % 2], number)) as uploading,
                in_background(
                    partial(ask_through, faces, archive.access.key, receiver.url, QUERIES)
                ) as asking,
            ):
                took[name] = restart(archive, name)
                done = uploading()
                ids += asking()
            images |= {image_id for one in done.ids.values() for image_id in one}
            repeated += sum(done.unanswered.values())
        wait_until_tagged(archive, PREFIX, PHOTOS * len(NAMES), CATCH_UP_S)
        came = callbacks_until(receiver, QUERIES * len(NAMES), CATCH_UP_S, quiet_s=5)
        told = told_about_all(archive, sorted(images), IMAGES_TAGGED)
        measured(
            f"restarted {', '.join(f'{name} {s:.1f} s' for name, s in took.items())};"
            f" {repeated} uploads repeated, {duplicates(came)} webhooks twice"
        )

        assert len(images) == tagged_count(archive, PREFIX) == PHOTOS * len(NAMES)
        assert len(set(ids)) == QUERIES * len(NAMES)
        assert set(came) == set(ids), "an accepted query was not answered"
        assert duplicates(came) == 0, "a process that is stopped as asked ends its attempts first"
        assert sum(len(events) - 1 for events in told.ids.values()) <= repeated
        assert archive.value("SELECT count(*) FROM dead_letters") == 0
        for group in ("tagging", "query", "delivery"):
            assert_progress_is_at_the_end(archive, group)


def _upload(archive: RunningArchive, face: str, number: int) -> Uploaded:
    photos = tiny_photos(PHOTOS, first_seed=3_000_000 + number * PHOTOS)
    return upload_through(face, archive.access.key, photos, f"{PREFIX}{number}-")
