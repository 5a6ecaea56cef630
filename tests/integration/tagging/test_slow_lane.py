"""Slow images: parked by the batch, worked off beside it, each exactly once."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from consumers.tagging.parked_metrics import ParkedMetrics
from consumers.tagging.slow_lane import MAX_ATTEMPTS, SlowLane, places
from core.errors import BlobStoreAway
from core.messaging.preparing import MOST_BROKEN_IN_A_ROW
from core.storage.archive import image_deletion, images, parked_images
from core.storage.pool import Pool
from core.storage.queries import queries
from core.tags import Slowness
from schemas.image import image_id_of
from schemas.token import Token
from schemas.topics import IMAGES_ARRIVED, IMAGES_BULK
from tests.integration.tagging.archive import picture
from tests.integration.tagging.slow import BAD, SLOW, SlowArchive, open_slow_archive

SLOW_URI, BAD_URI, GOOD_URI = "file:p/slow.jpg", "file:p/bad.jpg", "file:p/1.jpg"
SLOW_ID, BAD_ID = image_id_of(SLOW_URI), image_id_of(BAD_URI)
CONTENTS = {SLOW_URI: SLOW, BAD_URI: BAD}
WITHIN_S = 60.0


@pytest.fixture
async def slow(pool: Pool) -> SlowArchive:
    return await open_slow_archive(pool, dict(CONTENTS))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_the_batch_goes_on_and_the_slow_image_is_tagged_afterwards(slow: SlowArchive) -> None:
    outcome, _ = await slow.arrive(SLOW_URI, GOOD_URI)

    assert set(await slow.archive.rows()) == {"p/1.jpg"}
    assert len(outcome.emitted) == 1
    shown = await images.status(slow.pool, SLOW_ID)
    assert shown is not None
    assert (shown.status, shown.waits_for) == ("accepted", "slow_picture")

    assert await slow.work_off() == 1

    assert set(await slow.archive.rows()) == {"p/1.jpg", "p/slow.jpg"}
    shown = await images.status(slow.pool, SLOW_ID)
    assert shown is not None
    assert (shown.status, shown.waits_for) == ("tagged", None)
    assert [(event.uri, event.error) for event in slow.sent.events()] == [(SLOW_URI, None)]
    assert await slow.parked() == {}
    assert await slow.work_off() == 0


async def test_one_that_fails_alone_ends_in_the_ledger_and_the_dead_letters(
    slow: SlowArchive,
) -> None:
    await slow.arrive(BAD_URI)

    await slow.work_off()

    shown = await images.status(slow.pool, BAD_ID)
    assert shown is not None
    assert (shown.status, shown.reason) == ("failed", "decoder_timeout")
    ((event),) = slow.sent.events()
    assert event.error is not None
    assert event.error.reason == "decoder_timeout"
    (letter,) = await slow.pool.fetch("SELECT * FROM dead_letters")
    place = (letter["grp"], letter["topic"], letter["part"], letter["log_offset"])
    assert place == ("tagging", IMAGES_ARRIVED.name, 0, 0)
    assert (letter["reason"], letter["cluster_id"]) == ("decoder_timeout", "c1")
    assert json.loads(letter["value"]) == {"uri": BAD_URI}
    copies = [row.record for row in slow.sent.published if row.record.topic.endswith(".dlq")]
    assert [copy.header("dlq_reason") for copy in copies] == ["decoder_timeout"]
    assert copies[0].header("ce_id") == "e0"


async def test_a_later_arrival_replaces_the_parked_one_and_an_earlier_one_does_not(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI, at_s=10, labels=["cat"])
    await slow.arrive(SLOW_URI, at_s=20, labels=["dog"])
    await slow.arrive(SLOW_URI, at_s=5, labels=["bird"])

    assert await slow.work_off() == 1

    row = (await slow.archive.rows())["p/slow.jpg"]
    assert set(row["tags"]) == {"dog"}
    assert len(slow.decoder.decoded) == 1


@pytest.mark.parametrize("second", [SLOW, picture(7)], ids=["slow", "quick"])
async def test_of_two_arrivals_made_at_one_time_the_fresh_one_counts(
    slow: SlowArchive, second: bytes
) -> None:
    await slow.arrive(SLOW_URI, labels=["fresh"])
    slow.archive.blobs.contents[SLOW_URI] = second
    await slow.arrive(SLOW_URI, labels=["bulk"], topic=IMAGES_BULK)

    assert await slow.work_off() == 1

    assert set((await slow.archive.rows())["p/slow.jpg"]["tags"]) == {"fresh"}


async def test_of_one_owner_the_fresh_come_before_the_bulk(slow: SlowArchive) -> None:
    await slow.arrive(BAD_URI, topic=IMAGES_BULK)
    await slow.arrive(SLOW_URI)

    claimed = await slow.lane.claim()

    assert claimed is not None
    assert claimed.image_id == SLOW_ID


async def test_a_claim_that_a_later_arrival_replaced_writes_nothing(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI, at_s=10, labels=["cat"])
    claimed = await slow.lane.claim()
    assert claimed is not None
    await slow.arrive(SLOW_URI, at_s=20, labels=["dog"])

    await slow.lane.work_on(claimed)

    assert await slow.archive.rows() == {}
    assert await slow.work_off() == 1
    assert set((await slow.archive.rows())["p/slow.jpg"]["tags"]) == {"dog"}
    assert len(slow.sent.events()) == 1


async def test_a_later_arrival_that_is_quick_ends_the_wait_of_the_slow_one(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI, at_s=10)
    slow.archive.blobs.contents[SLOW_URI] = picture(7)
    await slow.arrive(SLOW_URI, at_s=20)

    assert await slow.parked() == {}
    assert await slow.work_off() == 0
    assert set(await slow.archive.rows()) == {"p/slow.jpg"}


async def test_an_image_deleted_while_it_waits_does_not_come_back(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI, GOOD_URI)
    claimed = await slow.lane.claim()
    assert claimed is not None
    async with slow.pool.transaction() as tx:
        assert await image_deletion.delete(tx, SLOW_ID) is not None

    await slow.lane.work_on(claimed)

    assert set(await slow.archive.rows()) == {"p/1.jpg"}
    assert await slow.parked() == {}
    assert slow.sent.published == []


async def test_an_arrival_from_before_the_deletion_is_not_parked(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI)
    async with slow.pool.transaction() as tx:
        await image_deletion.delete(tx, SLOW_ID)

    await slow.arrive(SLOW_URI, at_s=1)  # the clock of the deletion is today's

    assert await slow.parked() == {}


async def test_a_deleted_slow_file_that_a_scan_finds_stays_deleted_while_it_is_the_same(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI)
    await slow.work_off()
    async with slow.pool.transaction() as tx:
        await image_deletion.delete(tx, SLOW_ID)
    await slow.arrive(SLOW_URI, at_s=1e9, source="/producers/watch")
    while_it_waits = await images.status(slow.pool, SLOW_ID)
    await slow.work_off()
    the_same = await images.status(slow.pool, SLOW_ID)
    slow.archive.blobs.contents[SLOW_URI] = SLOW + b" and new"
    await slow.arrive(SLOW_URI, at_s=1e9, source="/producers/watch")
    await slow.work_off()
    another = await images.status(slow.pool, SLOW_ID)

    assert while_it_waits is None
    assert the_same is None
    assert another is not None
    assert another.status == "tagged"
    assert await slow.parked() == {}


async def test_owners_take_turns_whatever_one_of_them_sends(slow: SlowArchive) -> None:
    many = {f"file:p/a{number}.jpg": SLOW + b"%d" % number for number in range(20)}
    slow.archive.blobs.contents |= many | {"file:p/b.jpg": SLOW + b"b", "file:p/c.jpg": SLOW + b"c"}
    await slow.arrive(*many, owner="alice")
    await slow.arrive("file:p/b.jpg", owner="bob")
    await slow.arrive("file:p/c.jpg")  # nobody's: a turn like any other

    turns = []
    for _ in range(6):
        claimed = await slow.lane.claim()
        assert claimed is not None
        turns.append(claimed.turn)
        await slow.lane.work_on(claimed)

    assert turns == ["alice", "bob", "", "alice", "alice", "alice"]


async def test_what_was_under_way_when_the_process_ended_is_worked_on_apart_from_the_others(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI, BAD_URI)
    first = await slow.lane.claim()
    assert first is not None
    assert await slow.suspects.claim() is None  # it is under way
    await slow.pool.execute("UPDATE parked_images SET due_at = now() WHERE token IS NOT NULL")

    second = await slow.lane.claim()

    assert second is not None
    assert second.image_id != first.image_id
    assert await slow.lane.claim() is None
    again = await slow.suspects.claim()
    assert again is not None
    assert again.image_id == first.image_id
    assert again.why is Slowness.PICTURE


def test_of_the_suspects_one_is_worked_on_at_a_time() -> None:
    assert places(4)[None] == 1


async def test_a_dead_processs_image_is_taken_when_its_lease_ends_and_only_then(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI)
    dead = await slow.lane.claim()
    assert dead is not None
    assert await slow.lane.claim() is None
    await slow.pool.execute("UPDATE parked_images SET due_at = now()")

    assert await slow.work_off() == 1
    await slow.lane.work_on(dead)  # it was only slow: a zombie

    assert len(slow.sent.events()) == 1


async def test_an_image_that_ends_the_process_again_and_again_becomes_a_dead_letter(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI)
    for lane in [slow.lane, *[slow.suspects] * (MAX_ATTEMPTS - 1)]:
        assert await lane.claim() is not None
        await slow.pool.execute("UPDATE parked_images SET due_at = now()")

    assert await slow.work_off() == 1

    assert slow.decoder.decoded == []
    shown = await images.status(slow.pool, SLOW_ID)
    assert shown is not None
    assert (shown.status, shown.reason) == ("failed", "process_crashed")
    assert await slow.pool.fetchval("SELECT reason FROM dead_letters") == "process_crashed"


async def test_an_outage_gives_the_image_back_and_counts_no_attempt(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI)
    claimed = await slow.lane.claim()
    assert claimed is not None
    slow.archive.blobs.away = BlobStoreAway("unplugged")

    await slow.lane.work_on(claimed)

    (row,) = (await slow.parked()).values()
    assert (row["attempts"], row["token"]) == (0, None)
    due_in = await slow.pool.fetchval("SELECT due_at - now() FROM parked_images")
    assert timedelta(0) < due_in <= timedelta(seconds=5)


async def test_a_label_change_meanwhile_makes_the_plan_again(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI)
    claimed = await slow.lane.claim()
    assert claimed is not None
    slow.decoder.before = lambda: slow.archive.define("bird", "fish")

    await slow.lane.work_on(claimed)
    assert await slow.archive.rows() == {}
    slow.decoder.before = None
    assert await slow.work_off() == 1

    assert set((await slow.archive.rows())["p/slow.jpg"]["tags"]) == {"bird", "fish"}


async def test_what_postgresql_refuses_of_a_parked_image_is_a_dead_letter(
    slow: SlowArchive,
) -> None:
    await slow.arrive(SLOW_URI)
    await slow.pool.execute(
        "ALTER TABLE tagged_images ADD CONSTRAINT none CHECK (image_path <> 'p/slow.jpg')"
    )

    assert await slow.work_off() == 1

    assert await slow.pool.fetchval("SELECT reason FROM dead_letters") == "database_refused"
    shown = await images.status(slow.pool, SLOW_ID)
    assert shown is not None
    assert shown.reason == "database_refused"


async def test_image_after_image_that_breaks_is_this_process_and_not_the_images(
    slow: SlowArchive,
) -> None:
    async def without_accelerator() -> None:
        raise RuntimeError("the context is lost")

    slow.decoder.before = without_accelerator
    uris = [f"file:p/slow-{number}.jpg" for number in range(MOST_BROKEN_IN_A_ROW + 5)]
    slow.archive.blobs.contents |= {uri: SLOW + uri.encode() for uri in uris}
    await slow.arrive(*uris)

    with pytest.raises(RuntimeError, match="the context is lost"):
        await slow.work_off()

    assert await slow.pool.fetchval("SELECT count(*) FROM dead_letters") == MOST_BROKEN_IN_A_ROW
    assert len(await slow.parked()) == 5


async def test_a_token_of_a_parked_upload_is_waited_for(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI, GOOD_URI)
    await slow.arrive(SLOW_URI, at_s=20)
    tokens = [Token("c1", IMAGES_ARRIVED.name, 0, offset) for offset in range(3)]

    assert await queries.passed(slow.pool, tokens, ["tagging"]) == [False, True, False]
    await slow.work_off()
    assert await queries.passed(slow.pool, tokens, ["tagging"]) == [True, True, True]


async def test_an_image_that_has_tags_keeps_them_while_its_new_bytes_wait(
    slow: SlowArchive,
) -> None:
    slow.archive.blobs.contents[SLOW_URI] = picture(7)
    await slow.arrive(SLOW_URI)
    before = await images.status(slow.pool, SLOW_ID)
    slow.archive.blobs.contents[SLOW_URI] = SLOW
    await slow.arrive(SLOW_URI, at_s=1)

    shown = await images.status(slow.pool, SLOW_ID)

    assert before is not None
    assert shown is not None
    assert (shown.status, shown.waits_for) == ("tagged", "slow_picture")
    # Whoever waits for the tags of this arrival (`POST /tag/image`) looks at this time.
    assert (shown.tags, shown.updated_at) == (before.tags, before.updated_at)
    await slow.work_off()
    shown = await images.status(slow.pool, SLOW_ID)
    assert shown is not None
    assert shown.updated_at != before.updated_at


async def test_the_lane_works_until_it_is_stopped_and_gives_back_what_is_under_way(
    slow: SlowArchive,
) -> None:
    started, hold = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        await hold.wait()

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(slow.lane.run(stop))
        await slow.arrive(SLOW_URI)
        await until(lambda: bool(slow.sent.events()))
        slow.decoder.before = wait
        await slow.arrive(BAD_URI)
        await started.wait()
        stop.set()
        async with asyncio.timeout(WITHIN_S):
            await running

    (row,) = (await slow.parked()).values()
    assert (row["image_id"], row["attempts"], row["token"]) == (BAD_ID, 0, None)


async def test_a_lease_is_prolonged_while_the_work_lasts(slow: SlowArchive, pool: Pool) -> None:
    lane = SlowLane(
        pool, slow.lane.role, slow.lane.letters, slow.sent, Slowness.PICTURE, lease_s=1.5
    )
    hold = asyncio.Event()
    slow.decoder.before = hold.wait
    await slow.arrive(SLOW_URI)
    claimed = await lane.claim()
    assert claimed is not None
    first = (await slow.parked())[SLOW_ID]["due_at"]
    working = asyncio.create_task(lane.work_on(claimed))

    async with asyncio.timeout(WITHIN_S):
        while (await slow.parked())[SLOW_ID]["due_at"] <= first + timedelta(seconds=1.5):
            await asyncio.sleep(0.05)
    hold.set()
    await working

    assert len(slow.sent.events()) == 1


async def test_parked_images_are_counted_with_the_age_of_the_oldest(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI, BAD_URI)
    await slow.pool.execute("UPDATE parked_images SET parked_at = now() - interval '1 hour'")
    metrics = slow.archive.metrics

    await ParkedMetrics(metrics, slow.pool).show()

    def shown(name: str, why: str) -> float | None:
        return metrics.registry.get_sample_value(f"photo_archive_{name}", {"reason": why})

    assert shown("images_parked", "slow_picture") == 2
    assert shown("images_parked", "slow_source") == 0
    assert (shown("images_parked_oldest_seconds", "slow_picture") or 0) >= 3600


async def test_a_kind_of_slowness_is_no_business_of_another_lane(slow: SlowArchive) -> None:
    await slow.arrive(SLOW_URI)

    claimed = await parked_images.claim(slow.pool, Slowness.SOURCE, after="", lease_s=30)

    assert claimed is None
