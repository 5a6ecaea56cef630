"""Kafka is gone for a while: what was accepted meanwhile is done after its return."""

import time

import pytest

from schemas.topics import IMAGES_TAGGED
from standalone.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.faults.load import (
    ask_all,
    assert_progress_is_at_the_end,
    callbacks_until,
    duplicates,
    is_well,
    tiny_photos,
    told_about_all,
    upload_all,
    wait_until_tagged,
)
from tests.measured import Measured

CATCH_UP_S = 180.0


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
        health = shaken.http.get("/health").json()
        time.sleep(max(0.0, away_s - sent_s))
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
    assert (health["status"], health["checks"]["broker"]["status"]) == ("degraded", "away")
    assert {len(events) for events in told.ids.values()} == {1}
    assert set(came) == set(query_ids)
    assert {len(counts) for counts in came.values()} == {1}
    assert_progress_is_at_the_end(shaken, "tagging")
    assert_progress_is_at_the_end(shaken, "query")
    shaken.wait_for(lambda: is_well(shaken), 30, "the ingress does not see the broker again")
    now = shaken.pids()
    assert {name for name in pids if name != "kafka" and now[name] != pids[name]} == set()
