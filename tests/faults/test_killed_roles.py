"""SIGKILL at random moments: nothing is lost, nothing is done twice."""

import random
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
    tiny_photos,
    told_about_all,
    upload_all,
    wait_until_tagged,
)
from tests.measured import Measured

PHOTOS = 500
QUERIES = 200
KILLS = 3
CATCH_UP_S = 240.0  # time for three starts of a process that loads torch, on two busy cores
BETWEEN_QUERIES_S = 0.06


@pytest.fixture
def chance(measured: Measured) -> random.Random:
    """Return the random source for the moments of the kills."""
    seed = random.SystemRandom().randrange(2**32)
    measured(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.timeout(900)  # three loads of torch on a busy machine
def test_a_tagging_process_killed_three_times_tags_every_photo_once(
    shaken: RunningArchive, chance: random.Random, measured: Measured
) -> None:
    photos = tiny_photos(PHOTOS, first_seed=200_000)
    prefix = "killed-"
    part = PHOTOS * 6 // 10 // KILLS
    moments = [number * part + chance.randrange(part) for number in range(KILLS)]
    began = time.monotonic()
    killed_at = []
    with in_background(lambda: upload_all(shaken, photos, prefix)) as uploaded:
        for moment in moments:
            killed_at.append(wait_until_tagged(shaken, prefix, moment, CATCH_UP_S))
            time.sleep(chance.random() * 0.1)  # anywhere in a batch, not only after its commit
            pid = shaken.kill("tagging-0")
            shaken.wait_until_restarted("tagging-0", pid)
        ids = uploaded()
    wait_until_tagged(shaken, prefix, PHOTOS, CATCH_UP_S)

    took_s = time.monotonic() - began
    assert len(set(ids)) == PHOTOS
    assert max(killed_at) < PHOTOS, "a kill came too late to matter"
    told = told_about_all(shaken, ids, IMAGES_TAGGED)
    measured(
        f"killed at about {killed_at} of {PHOTOS} tagged; {took_s:.1f} s;"
        f" {told.duplicates} records of images.tagged twice on the wire"
    )
    assert {len(events) for events in told.ids.values()} == {1}, "an image was tagged twice"
    assert shaken.value("SELECT count(*) FROM dead_letters") == 0
    assert shaken.value("SELECT count(*) FROM outbox") == 0
    assert_progress_is_at_the_end(shaken, "tagging")


@pytest.mark.parametrize("role", ["query-0", "delivery-0"])
def test_queries_are_answered_once_each_whatever_is_killed(
    shaken: RunningArchive,
    receiver: CallbackReceiver,
    chance: random.Random,
    measured: Measured,
    role: str,
) -> None:
    window_s = QUERIES * BETWEEN_QUERIES_S
    moments = sorted(chance.uniform(0.1, window_s) for _ in range(KILLS))
    began = time.monotonic()

    with in_background(
        lambda: ask_all(shaken, receiver.url, QUERIES, BETWEEN_QUERIES_S)
    ) as submitted:
        for moment in moments:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            pid = shaken.kill(role)
            shaken.wait_until_restarted(role, pid)
        ids = submitted()
    came = callbacks_until(receiver, QUERIES, CATCH_UP_S)

    took_s = time.monotonic() - began
    measured(
        f"{role} killed at {[f'{moment:.1f}' for moment in moments]} s; {took_s:.1f} s in all;"
        f" {duplicates(came)} webhooks twice on the wire"
    )
    assert set(came) == set(ids), "an accepted query was not answered"
    assert {len(counts) for counts in came.values()} == {1}, "an answer had two webhook ids"
    assert receiver.refused == 0
    # After a kill between a 2xx and its record, a webhook is sent again when its lease ends.
    open_now = "SELECT 1 FROM deliveries WHERE query_id = ANY($1::uuid[]) AND state <> 'delivered'"
    shaken.wait_for(lambda: not shaken.sql(open_now, ids), CATCH_UP_S, "webhooks are not recorded")
    rows = shaken.sql(
        "SELECT q.status, d.delivery_id, d.state FROM queries q"
        " LEFT JOIN deliveries d USING (query_id) WHERE q.query_id = ANY($1::uuid[])",
        ids,
    )
    assert len(rows) == QUERIES, "an answer was scheduled twice"
    assert {(row["status"], row["state"]) for row in rows} == {("answered", "delivered")}
    assert {str(row["delivery_id"]) for row in rows} == {
        webhook_id for counts in came.values() for webhook_id in counts
    }
    if role == "query-0":
        assert duplicates(came) == 0, "only a killed delivery process may repeat a POST"
    assert_progress_is_at_the_end(shaken, role.partition("-")[0])
