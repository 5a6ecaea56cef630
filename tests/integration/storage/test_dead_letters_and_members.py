"""Dead letters are stored whatever they contain; member ids are stored by instance."""

import json
from dataclasses import replace

from core.messaging.ports import DeadLetters, Members
from core.offsets import DeadLetter
from core.storage.pool import Pool
from core.storage.stream import dead_letters, members
from core.storage.stream.outbox import headers_from_json
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED


def letter(offset: int, **changes: object) -> DeadLetter:
    place = DeadLetterPlace("g", "t", 1, offset, "reason", str(changes.get("detail", "why")))
    record = Record("t", b"\x00key", (("na\x00me", b"\xff"),), b"\x00\xffvalue")
    return DeadLetter(place, "cluster", record, int(str(changes.get("at", 1_700_000_000_000))))


async def test_any_bytes_any_text_and_any_clock_are_kept(pool: Pool) -> None:
    table: DeadLetters = dead_letters
    letters = [
        letter(1, detail="nul \x00 and half a pair \ud800"),
        letter(2, at=-1),
        letter(3, at=2**62),
        letter(4, detail="x" * 100_000),
    ]
    async with pool.transaction() as tx:
        await table.add(tx, letters)

    rows = await pool.fetch("SELECT * FROM dead_letters ORDER BY log_offset")
    assert [row["value"] for row in rows] == [b"\x00\xffvalue"] * 4
    assert rows[0]["detail"] == "nul \ufffd and half a pair ?"
    assert headers_from_json(rows[0]["headers"]) == (("na\ufffdme", b"\xff"),)
    assert [row["record_at"] is None for row in rows] == [False, True, True, False]
    assert len(rows[3]["detail"]) == 4000


async def test_the_same_record_set_aside_twice_is_one_row(pool: Pool) -> None:
    for _ in range(2):
        async with pool.transaction() as tx:
            await dead_letters.add(tx, [letter(1)])
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 1


def arrival(offset: int, reason: str = "truncated", **told: object) -> DeadLetter:
    value = json.dumps({"uri": "file:photos/cut.jpg", **told}).encode()
    place = DeadLetterPlace("tagging", IMAGES_ARRIVED.name, 1, offset, reason, "cut")
    return DeadLetter(place, "cluster", Record(place.topic, b"id", (), value), 1_700_000_000_000)


async def test_a_photo_that_fails_each_time_its_folder_is_announced_is_one_letter(
    pool: Pool,
) -> None:
    for offset in range(3):
        async with pool.transaction() as tx:
            await dead_letters.add(tx, [arrival(offset, job_id=str(offset))])
    async with pool.transaction() as tx:
        await dead_letters.add(tx, [arrival(3, job_id="3"), arrival(4, job_id="4")])

    assert await pool.fetchval("SELECT array_agg(log_offset) FROM dead_letters") == [4]


async def test_what_fails_otherwise_says_more_or_was_put_back_is_a_letter_of_its_own(
    pool: Pool,
) -> None:
    picture = DeadLetter(
        DeadLetterPlace("tagging", IMAGES_ARRIVED.name, 1, 9, "truncated", "cut"),
        "cluster",
        Record(IMAGES_ARRIVED.name, b"id", (), b"\xff\xd8"),
        1_700_000_000_000,
    )
    again = picture._replace(place=replace(picture.place, offset=10))
    deep = picture._replace(
        record=Record(IMAGES_ARRIVED.name, b"id", (), b"[" * 100_000),
        place=replace(picture.place, offset=11),
    )
    letters = [arrival(1), arrival(2, "image_missing"), arrival(3, top_k=2), picture, again, deep]
    async with pool.transaction() as tx:
        await dead_letters.add(tx, letters)
    await pool.execute("UPDATE dead_letters SET replayed_at = now() WHERE log_offset = 1")
    async with pool.transaction() as tx:
        await dead_letters.add(tx, [arrival(4)])

    kept = await pool.fetchval("SELECT array_agg(log_offset ORDER BY log_offset) FROM dead_letters")
    assert kept == [1, 2, 3, 4, 9, 10, 11]


async def test_the_last_life_of_an_instance_is_remembered(pool: Pool) -> None:
    port: Members = members
    assert await port.predecessor(pool, "g", "a") is None

    await port.store(pool, "g", "a", "m-1")
    await port.store(pool, "g", "a", "m-2")
    await port.store(pool, "g", "b", "m-3")

    assert await port.predecessor(pool, "g", "a") == "m-2"
    assert await port.predecessor(pool, "other", "a") is None
