"""Dead letters and known images are published again on their topics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.messaging.cloudevents import made_at
from core.messaging.ports import Sent
from core.offsets import DeadLetter
from core.storage.archive import image_deletion, ownership, selection
from core.storage.archive.selection import Choice
from core.storage.pool import Pool
from core.storage.stream import dead_letters, replays
from core.storage.stream.replays import LetterFilter
from producers.folders.announcing import Announcer, Photo, Problem
from producers.images import Origin, Wishes
from producers.publishing import Patience
from producers.replay import Replay
from producers.retag import Retag
from schemas.dead_letter import DeadLetterPlace
from schemas.image import ImageArrived, image_id_of
from schemas.record import Record
from schemas.topics import IMAGES_BULK, QUERIES_SUBMITTED, Lane
from tests.fakes.publisher import MemoryPublisher

TOPIC = "images.arrived.v1"
HEADERS = (("ce_id", b"1"), ("x", b"\x00\xff"), ("x", b"twice"), ("traceparent", b"00-a-b-01"))
NOW = datetime(2024, 5, 15, tzinfo=UTC)
JOB = UUID(int=7)


def record(number: int, size: int = 3) -> Record:
    return Record(TOPIC, b"\xff%d" % number if number else None, HEADERS, b"\x00" * size)


def back(letter: Record) -> Record:
    """Return the record that goes back: in bulk, as old as it was, else as it was."""
    told = ("ce_time", NOW.isoformat().encode())
    return replace(letter, topic=IMAGES_BULK.name, headers=(*letter.headers, told))


async def set_aside(
    pool: Pool, records: list[Record], reason: str, group: str = "tagging", topic: str = TOPIC
) -> None:
    async with pool.transaction() as tx:
        await dead_letters.add(
            tx,
            [
                DeadLetter(
                    DeadLetterPlace(group, topic, 0, 1000 * len(reason) + index, reason, "why"),
                    "cluster",
                    record,
                    int(NOW.timestamp() * 1000),
                )
                for index, record in enumerate(records)
            ],
        )


async def replay(
    pool: Pool, kafka: MemoryPublisher, wanted: LetterFilter, limit: int | None = None
) -> Counter[str]:
    done = await Replay(pool, kafka, Patience(limit_s=0)).run(wanted, limit)
    return done.by_reason + Counter({f"not {name}": n for name, n in done.refused.items()})


class FailingAgain(MemoryPublisher):
    """A publisher whose records become dead letters again before the call returns."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        sent = await super().publish(records)
        assert len(self.records) < 1000, "a replay without an end"
        await set_aside(self._pool, list(records), f"again_{'x' * self.calls}")
        return sent


async def test_what_fails_again_at_once_is_not_replayed_by_the_same_run(pool: Pool) -> None:
    await set_aside(pool, [record(1), record(2)], "image_unreadable")
    kafka = FailingAgain(pool)

    assert await replay(pool, kafka, LetterFilter(TOPIC)) == Counter(image_unreadable=2)
    assert await pool.fetchval("SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL") == 2


async def test_arrivals_go_back_in_bulk_as_old_as_they_were_and_once(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    letters = [record(number) for number in range(450)]
    await set_aside(pool, letters, "image_unreadable")

    assert await replay(pool, kafka, LetterFilter(TOPIC)) == Counter(image_unreadable=450)
    assert kafka.records == [back(letter) for letter in letters]

    assert await replay(pool, kafka, LetterFilter(TOPIC)) == Counter()
    assert len(kafka.records) == 450


async def test_of_what_could_not_be_read_nothing_goes_back(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    await set_aside(pool, [Record(TOPIC, None, (), b"")], "unreadable_record")
    await set_aside(pool, [record(1)], "image_missing")

    assert await replays.counts(pool, LetterFilter(TOPIC)) == {"image_missing": 1}
    assert await replays.count_unreadable(pool, LetterFilter(TOPIC)) == 1
    assert await replay(pool, kafka, LetterFilter(TOPIC)) == Counter(image_missing=1)
    assert kafka.records == [back(record(1))]


async def test_an_arrival_that_says_its_time_goes_back_with_no_other(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    letter = replace(record(1), headers=(("ce_time", b"2023-01-01T00:00:00+00:00"),))
    await set_aside(pool, [letter, replace(letter, topic=IMAGES_BULK.name)], "image_missing")

    await replay(pool, kafka, LetterFilter(TOPIC))

    assert kafka.records == [replace(letter, topic=IMAGES_BULK.name)] * 2


async def test_a_letter_of_another_topic_goes_back_unchanged(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    letter = replace(record(1), topic=QUERIES_SUBMITTED.name)
    await set_aside(pool, [letter], "process_crashed", topic=QUERIES_SUBMITTED.name)

    await replay(pool, kafka, LetterFilter(QUERIES_SUBMITTED.name))

    assert kafka.records == [letter]


async def test_only_what_the_filter_names_goes_back(pool: Pool, kafka: MemoryPublisher) -> None:
    await set_aside(pool, [record(1), record(2)], "image_unreadable")
    await set_aside(pool, [record(3)], "process_crashed")
    await set_aside(pool, [record(4)], "image_missing", group="other")
    wanted = LetterFilter(TOPIC, group="tagging", reason="image_unreadable")

    assert await replays.counts(pool, LetterFilter(TOPIC, group="tagging")) == {
        "image_unreadable": 2,
        "process_crashed": 1,
    }
    assert await replay(pool, kafka, wanted, limit=1) == Counter(image_unreadable=1)
    assert kafka.records == [back(record(1))]
    assert await replay(pool, kafka, LetterFilter("queries.submitted.v1")) == Counter()


async def test_a_letter_is_marked_only_after_its_acknowledgement(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    await set_aside(pool, [record(1), record(2)], "image_unreadable")
    kafka.is_away = True
    assert await replay(pool, kafka, LetterFilter(TOPIC)) == Counter({"not broker_away": 2})
    assert await pool.fetchval("SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL") == 2

    kafka.is_away = False
    assert await replay(pool, kafka, LetterFilter(TOPIC)) == Counter(image_unreadable=2)


async def test_a_letter_that_kafka_refuses_costs_itself_only(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    await set_aside(pool, [record(1), record(2, size=100), record(3)], "image_unreadable")
    kafka.largest_value = 50

    done = await replay(pool, kafka, LetterFilter(TOPIC))

    assert done == Counter({"image_unreadable": 2, "not kafka_refused": 1})
    assert kafka.records == [back(record(1)), back(record(3))]


async def make_images(pool: Pool) -> None:
    rows = [
        ("tagged", None, "old", 0, None), ("tagged", None, "new", 0, "ann"),
        ("tagged", "image_missing", "new", 0, None), ("failed", "image_unreadable", None, 0, None),
        ("tagged", None, "old", None, None), ("missing", None, "old", 0, None),
        ("deleted", None, None, 0, None), ("accepted", None, None, 0, "bob"),
    ]  # fmt: skip
    for number, (status, reason, model, label_version, owner) in enumerate(rows):
        uri = f"file:main/{number}.jpg"
        await pool.execute(
            "INSERT INTO images (image_id, uri, path, open_to_all, status, reason)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            image_id_of(uri), uri, f"main/{number}.jpg", owner is None, status, reason,
        )  # fmt: skip
        if owner:
            async with pool.transaction() as tx:
                await ownership.join(tx, image_id_of(uri), owner)
        if model:
            await pool.execute(
                "INSERT INTO tagged_images (image_path, tags, image_id, sha256, width, height,"
                " model, preprocessing, label_version, top_k)"
                " VALUES ('x', '[]', $1, '', 1, 1, $2, 'p', $3, 1)",
                image_id_of(uri), model, label_version,
            )  # fmt: skip


async def retagged(
    pool: Pool, kafka: MemoryPublisher, choice: Choice, limit: int | None = None
) -> str:
    """Return the numbers of the images that were announced again."""
    announcer = Announcer(kafka, "/test", Patience(limit_s=0))
    kafka.records.clear()
    tally = await Retag(pool, announcer).run(choice, limit, JOB, lambda _: None)
    assert tally.published == len(kafka.records)
    if limit is None:
        assert await selection.count(pool, choice) == tally.published
    return "".join(sorted(uri[len("file:main/")] for uri in kafka.uris()))


async def test_images_are_chosen_by_what_became_of_them(pool: Pool, kafka: MemoryPublisher) -> None:
    await make_images(pool)

    assert await retagged(pool, kafka, Choice()) == "01237"
    assert await retagged(pool, kafka, Choice(with_own_labels=True)) == "012347"
    assert await retagged(pool, kafka, Choice(only_failed=True)) == "23"
    assert await retagged(pool, kafka, Choice(model="old")) == "0"
    assert await retagged(pool, kafka, Choice(except_model="new")) == "037"
    assert len(await retagged(pool, kafka, Choice(), limit=2)) == 2


async def test_an_image_keeps_its_path_and_no_owner_is_named_anew(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    await make_images(pool)
    await retagged(pool, kafka, Choice())

    events = [ImageArrived.model_validate_json(record.value) for record in kafka.records]

    assert {(event.path, event.owner) for event in events} == {
        ("main/0.jpg", None), ("main/1.jpg", None), ("main/2.jpg", None), ("main/3.jpg", None),
        ("main/7.jpg", None),
    }  # fmt: skip
    assert {event.job_id for event in events} == {JOB}


async def test_an_image_is_announced_in_bulk_as_just_younger_than_its_last_arrival(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    await make_images(pool)
    tagged_from = NOW + timedelta(microseconds=5)
    await pool.execute("UPDATE images SET arrived_at = $1, event_time = $2", NOW, tagged_from)
    await pool.execute("UPDATE images SET event_time = NULL WHERE path = 'main/3.jpg'")

    await retagged(pool, kafka, Choice())

    assert {record.topic for record in kafka.records} == {IMAGES_BULK.name}
    moment = timedelta(microseconds=1)
    times = {record.key: made_at(record) for record in kafka.records}
    assert times.pop(str(image_id_of("file:main/3.jpg")).encode()) == NOW + moment
    assert set(times.values()) == {tagged_from + moment}


@dataclass(frozen=True)
class DeletedOnceChosen(Announcer):
    """Chosen images are deleted before they can be announced."""

    pool: Pool

    async def announce(
        self,
        photos: Sequence[Photo],
        *,
        wishes: Wishes | None = None,
        origin: Origin | None = None,
        lane: Lane = Lane.BULK,
    ) -> list[Problem]:
        for photo in photos:
            async with self.pool.transaction() as tx:
                await image_deletion.delete(tx, image_id_of(photo.uri))
        return await super().announce(photos, wishes=wishes, origin=origin, lane=lane)


async def test_what_is_announced_again_is_older_than_a_deletion_in_between(
    pool: Pool, kafka: MemoryPublisher
) -> None:
    await make_images(pool)
    announcer = DeletedOnceChosen(kafka, "/test", Patience(limit_s=0), pool)

    await Retag(pool, announcer).run(Choice(), None, JOB, lambda _: None)

    events = {ImageArrived.model_validate_json(one.value).image_id: one for one in kafka.records}
    rows = await pool.fetch("SELECT image_id, deleted_at FROM images WHERE deleted_at IS NOT NULL")
    gone = {row["image_id"]: row["deleted_at"] for row in rows}
    assert len(gone) == len(events) == 5
    for image_id, record in events.items():
        announced_at = made_at(record)
        assert announced_at is not None
        assert announced_at < gone[image_id]
