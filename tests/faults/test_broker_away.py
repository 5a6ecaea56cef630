"""Kafka is down for a while: what was accepted meanwhile is processed when it is back."""

import time

import pytest

from schemas.topics import IMAGES_TAGGED
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.faults.harness.load import (
    ask_all,
    assert_progress_is_at_the_end,
    callbacks_until,
    duplicates,
    in_background,
    is_well,
    tiny_photos,
    told_about_all,
    upload_all,
    wait_until_tagged,
)
from tests.faults.harness.persistence import (
    CLIENTS,
    LOST,
    REFUSED,
    second_ingress,
    upload_through,
    watched,
)
from tests.measured import Measured

CATCH_UP_S = 180.0
OUTBOX_ROWS = 100  # the least allowed value
UNSEEN = "SELECT 1 WHERE (SELECT count(*) FROM images WHERE starts_with(path, $1)) < $2"
MEMORY_MIB = 64  # growth allowed: bodies of all clients, and what an allocator keeps


@pytest.mark.parametrize(
    ("away_s", "photos", "queries"),
    [
        (10.0, 200, 20),
        pytest.param(60.0, 1000, 100, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_every_202_given_while_the_broker_was_away_is_honoured_after_its_return(
    shaken: RunningArchive,
    receiver: CallbackReceiver,
    measured: Measured,
    away_s: float,
    photos: int,
    queries: int,
) -> None:
    pictures = tiny_photos(photos, first_seed=300_000 + photos)
    prefix = f"away-{photos}-"
    pids = shaken.pids()

    with shaken.broker_away():
        gone_at = time.monotonic()
        image_ids = upload_all(shaken, pictures, prefix)
        query_ids = ask_all(shaken, receiver.url, queries, pause_s=0)
        sent_s = time.monotonic() - gone_at
        # The ingress notices it when an event is not acknowledged in time.
        shaken.wait_for(lambda: is_degraded(shaken), 30, "the ingress does not see the outage")
        time.sleep(max(0.0, away_s - (time.monotonic() - gone_at)))
    back_at = time.monotonic()

    wait_until_tagged(shaken, prefix, photos, CATCH_UP_S)
    came = callbacks_until(receiver, queries, CATCH_UP_S)
    caught_up_s = time.monotonic() - back_at
    told = told_about_all(shaken, image_ids, IMAGES_TAGGED)
    measured(
        f"away {back_at - gone_at:.1f} s; {photos} photos and {queries} queries accepted in"
        f" {sent_s:.1f} s; all done {caught_up_s:.1f} s after the return;"
        f" {told.duplicates} events and {duplicates(came)} webhooks twice on the wire"
    )
    assert {len(events) for events in told.ids.values()} == {1}
    assert set(came) == set(query_ids)
    assert {len(counts) for counts in came.values()} == {1}
    assert_progress_is_at_the_end(shaken, "tagging")
    assert_progress_is_at_the_end(shaken, "query")
    shaken.wait_for(lambda: is_well(shaken), 30, "the ingress does not see the broker again")
    now = shaken.pids()
    assert {name for name in pids if name != "kafka" and now[name] != pids[name]} == set()


def is_degraded(archive: RunningArchive) -> bool:
    """Return whether `/health` reports the broker as away, and nothing worse."""
    health = archive.http.get("/health").json()
    return (health["status"], health["checks"]["broker"]["status"]) == ("degraded", "away")


@pytest.mark.parametrize(
    ("photos", "away_s", "back_s"),
    [
        (500, 3.0, 2.0),
        pytest.param(10_000, 10.0, 10.0, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_uploads_go_on_while_the_broker_comes_and_goes(
    shaken: RunningArchive, measured: Measured, photos: int, away_s: float, back_s: float
) -> None:
    pictures = tiny_photos(photos, first_seed=400_000 + photos)
    prefix = f"shaken-{photos}-"
    settings = {"OUTBOX_MAX_ROWS": str(OUTBOX_ROWS), "INGRESS_REQUESTS_PER_SECOND": "100000"}

    with second_ingress(shaken, **settings) as ingress:
        upload_through(ingress.url, shaken.access.key, pictures[:50], prefix)  # warm
        before_mib, outages, began = ingress.memory_mib, 0, time.monotonic()
        with (
            watched(shaken, ingress) as seen,
            in_background(
                lambda: upload_through(ingress.url, shaken.access.key, pictures, prefix)
            ) as uploading,
        ):
            while outages == 0 or len(shaken.sql(UNSEEN, prefix, photos)):
                with shaken.broker_away():
                    time.sleep(away_s)
                outages += 1
                time.sleep(back_s)
            done = uploading()
        sent_s = time.monotonic() - began
    ids = [image_id for each in done.ids.values() for image_id in each]
    measured(
        f"{photos} uploads in {sent_s:.0f} s through {outages} outages: {dict(done.answers)};"
        f" outbox at most {seen.outbox_rows} of {OUTBOX_ROWS} rows, memory {before_mib:.0f} →"
        f" {seen.memory_mib:.0f} MiB"
    )
    assert done.answers[202] == photos
    assert done.answers[REFUSED] + done.answers[LOST] == 0, "the ingress dropped connections"
    assert done.answers[503] > 0, "no outage was long enough to fill the outbox"
    assert len(ids) == len(set(ids)) == photos
    assert seen.outbox_rows <= OUTBOX_ROWS + CLIENTS
    assert seen.memory_mib - before_mib < MEMORY_MIB
    wait_until_tagged(shaken, prefix, photos, CATCH_UP_S + photos / 10)
    rows = shaken.sql("SELECT image_id, status FROM images WHERE starts_with(path, $1)", prefix)
    assert {str(row["image_id"]) for row in rows} == set(ids)
    assert {row["status"] for row in rows} <= {"tagged", "failed"}
    assert len(rows) == photos
    told_about_all(shaken, ids, IMAGES_TAGGED)
