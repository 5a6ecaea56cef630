"""The tagging role, with ports in memory."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from consumers.tagging.arrivals import Arrival
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.role import StaleLabels, TaggingRole
from core.errors import BlobStoreAway, ImageMissing, ImageUnreadable, PermanentError
from core.messaging.role import Item, Received
from core.offsets import Place
from core.tags import ImageTags, Made, Postponed, Slowness, Tagged, TagRequest, TagScore
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from schemas.image import ImageArrived, ImageTagged
from schemas.record import Partition, Record
from schemas.topics import IMAGES_TAGGED, Lane
from tests.fakes.transactions import NoTransaction

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def tags_of(content: bytes) -> ImageTags:
    return ImageTags(
        tags=(TagScore(content.decode(), 900_000),),
        sha256=content.ljust(32, b"0"),
        width=1,
        height=1,
        model="fake",
        preprocessing="exact-1",
        embedding=b"\x00\x3c",
        exif_datetime=NOW.replace(tzinfo=None) if content == b"cut" else None,
        exif_source="IPTC" if content == b"cut" else None,
        truncated=content == b"cut",
    )


@dataclass
class MemoryBlobs:
    contents: dict[str, bytes]
    kept: list[bytes] = field(default_factory=list)
    away: bool = False

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError | Postponed]:
        if self.away:
            raise BlobStoreAway("store is away")
        return [
            Postponed(Slowness.SOURCE)
            if "drips" in uri
            else self.contents.get(uri) or ImageMissing(f"{uri} is not there")
            for uri in uris
        ]

    async def keep(self, content: bytes) -> str:
        self.kept.append(content)
        return f"blob:{len(self.kept)}"


@dataclass
class EchoTagger:
    """A tagger that tags every image with its content, so that a shifted index is noticed."""

    version: int = 1

    async def refresh(self) -> None:
        pass

    async def tag_all(
        self, images: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> list[Tagged | PermanentError | Postponed]:
        assert len(images) == len(requests)
        return [
            image
            if not isinstance(image, bytes)
            else Postponed(Slowness.PICTURE)
            if image.startswith(b"slow")
            else ImageUnreadable("broken")
            if image == b"broken"
            else Tagged(tags_of(image), None if want.labels else self.version, want.top_k or 4)
            for image, want in zip(images, requests, strict=True)
        ]


@dataclass
class MemoryTable:
    version: int = 1
    deleted: dict[UUID, datetime] = field(default_factory=dict)
    rows: dict[str, ImageTags] = field(default_factory=dict)
    failed: dict[str, PermanentError] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)
    last: dict[UUID, Made] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    parked: dict[str, tuple[Slowness, Made]] = field(default_factory=dict)
    places: list[tuple[UUID, Place]] = field(default_factory=list)
    superseded: dict[UUID, Made] = field(default_factory=dict)
    per_job: Counter[UUID] = field(default_factory=Counter)

    async def label_version(self, tx: Transaction) -> int:
        return self.version

    async def latest(self, tx: Transaction, image_ids: Sequence[UUID]) -> dict[UUID, Made]:
        deleted = {key: Made(at, is_fresh=False) for key, at in self.deleted.items()}
        return {key: made for key, made in (self.last | deleted).items() if key in image_ids}

    async def skip(
        self, tx: Transaction, arrivals: Sequence[Arrival], counted: Collection[UUID]
    ) -> None:
        self.skipped += [arrival.event.uri for arrival in arrivals]

    async def stay_deleted(
        self,
        tx: Transaction,
        scanned: Sequence[tuple[Arrival, Tagged | PermanentError]],
        image_ids: Collection[UUID],
    ) -> list[bool]:
        return [arrival.event.image_id in self.deleted for arrival, _ in scanned]

    async def replace(
        self, tx: Transaction, images: Sequence[tuple[Arrival, Tagged, Made]]
    ) -> None:
        self.times |= {arrival.event.uri: made.at for arrival, _, made in images}
        self.last |= {arrival.event.image_id: made for arrival, _, made in images}
        self.rows |= {arrival.event.uri: plan.tags for arrival, plan, _ in images}

    async def record_failures(
        self, tx: Transaction, failed: Sequence[tuple[Arrival, PermanentError, Made]]
    ) -> None:
        self.failed |= {arrival.event.uri: error for arrival, error, _ in failed}

    async def park(
        self,
        tx: Transaction,
        images: Sequence[tuple[Received[Arrival], Slowness, Made]],
        places: Sequence[tuple[UUID, Place]],
    ) -> None:
        self.parked |= {received.event.event.uri: (why, at) for received, why, at in images}
        self.places += places

    async def supersede(
        self, tx: Transaction, done: Sequence[tuple[UUID, Made]], per_job: Mapping[UUID, int]
    ) -> None:
        self.superseded |= dict(done)
        self.per_job.update(per_job)


def received(
    uri: str,
    offset: int,
    *,
    content: bytes | None = None,
    labels: tuple[str, ...] | None = None,
    at: datetime = NOW,
    lane: Lane = Lane.FRESH,
) -> Received[Arrival]:
    return Received(
        event=Arrival(ImageArrived(uri=uri, labels=labels), content),
        partition=Partition(lane.topic.name, 0),
        offset=offset,
        record=Record(lane.topic.name, None, (("ce_id", b"e%d" % offset),), b""),
        timestamp_ms=int(at.timestamp() * 1000),
    )


def role(
    contents: dict[str, bytes], metrics: Metrics | None = None
) -> tuple[TaggingRole, MemoryTable, MemoryBlobs]:
    table, blobs = MemoryTable(), MemoryBlobs(contents)
    measuring = TaggingMetrics(metrics or Metrics(CollectorRegistry()))
    return TaggingRole(blobs, EchoTagger(), table, measuring), table, blobs


async def test_every_image_gets_its_own_tags_and_one_event_leaves_for_each() -> None:
    uris = [f"file:photos/{number}.jpg" for number in range(20)]
    tagging, table, _ = role({uri: uri[-6:].encode() for uri in uris})

    items = await tagging.prepare([received(uri, n) for n, uri in enumerate(uris)])
    outcome = await tagging.apply(items, NoTransaction())

    assert {uri: tags.tags[0].tag for uri, tags in table.rows.items()} == {
        uri: uri[-6:] for uri in uris
    }
    events = [ImageTagged.model_validate_json(record.value) for record in outcome.emitted]
    assert [event.uri for event in events] == uris
    assert all(event.tags[0].tag == event.uri[-6:] for event in events)
    assert {record.topic for record in outcome.emitted} == {IMAGES_TAGGED.name}
    assert outcome.rejected == ()


async def test_an_event_says_where_the_time_comes_from_and_whether_the_file_is_cut() -> None:
    tagging, _, _ = role({"file:p/cut.jpg": b"cut", "file:p/cat.jpg": b"cat"})

    items = await tagging.prepare([received("file:p/cut.jpg", 0), received("file:p/cat.jpg", 1)])
    outcome = await tagging.apply(items, NoTransaction())

    events = [ImageTagged.model_validate_json(record.value) for record in outcome.emitted]
    assert [(one.exif_source, one.truncated) for one in events] == [("IPTC", True), (None, False)]


async def test_an_unreadable_image_is_set_aside_and_the_rest_is_stored() -> None:
    tagging, table, _ = role({"file:p/good.jpg": b"cat", "file:p/bad.jpg": b"broken"})
    batch = [
        received("file:p/good.jpg", 0),
        received("file:p/bad.jpg", 1),
        received("file:p/missing.jpg", 2),
    ]

    outcome = await tagging.apply(await tagging.prepare(batch), NoTransaction())

    assert set(table.rows) == {"file:p/good.jpg"}
    assert {uri: error.reason for uri, error in table.failed.items()} == {
        "file:p/bad.jpg": "image_unreadable",
        "file:p/missing.jpg": "image_missing",
    }
    assert [(r.offset, r.error.reason) for r in outcome.rejected] == [
        (1, "image_unreadable"),
        (2, "image_missing"),
    ]
    told = [ImageTagged.model_validate_json(record.value) for record in outcome.emitted]
    assert [event.error.reason if event.error else None for event in told] == [
        None,
        "image_unreadable",
        "image_missing",
    ]


async def test_slow_images_are_set_aside_and_the_rest_of_the_batch_goes_on() -> None:
    metrics = Metrics(CollectorRegistry())
    contents = {"file:p/good.jpg": b"cat", "file:p/slow.jpg": b"slow"}
    tagging, table, _ = role(contents, metrics)
    uris = ["file:p/good.jpg", "file:p/slow.jpg", "https://drips.example/a.jpg"]
    batch = [received(uri, offset) for offset, uri in enumerate(uris)]

    outcome = await tagging.apply(await tagging.prepare(batch), NoTransaction())

    assert set(table.rows) == {"file:p/good.jpg"}
    assert table.parked == {
        "file:p/slow.jpg": (Slowness.PICTURE, Made(NOW, is_fresh=True)),
        "https://drips.example/a.jpg": (Slowness.SOURCE, Made(NOW, is_fresh=True)),
    }
    assert [place.offset for _, place in table.places] == [1, 2]
    assert outcome.rejected == ()  # neither an error nor, yet, an event
    told = [ImageTagged.model_validate_json(record.value).uri for record in outcome.emitted]
    assert told == ["file:p/good.jpg"]
    for tell in outcome.notices:
        tell()
    labels = {"lane": "fresh", "outcome": "parked"}
    counted = metrics.registry.get_sample_value("photo_archive_images_total", labels)
    assert counted == 2


async def test_of_a_slow_image_twice_in_a_batch_the_last_is_parked_and_both_are_waited_for() -> (
    None
):
    tagging, table, _ = role({"file:p/slow.jpg": b"slow"})
    first = received("file:p/slow.jpg", 0)
    last = received("file:p/slow.jpg", 1, at=NOW + timedelta(seconds=1))

    await tagging.apply(await tagging.prepare([first, last]), NoTransaction())

    made = Made(NOW + timedelta(seconds=1), is_fresh=True)
    assert table.parked == {"file:p/slow.jpg": (Slowness.PICTURE, made)}
    assert [place.offset for _, place in table.places] == [0, 1]


async def test_an_arrival_that_was_dealt_with_ends_the_wait_of_those_made_before_it() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat", "file:p/b.jpg": b"broken"})
    batch = [received("file:p/a.jpg", 0), received("file:p/b.jpg", 1), received("file:p/c.jpg", 2)]

    await tagging.apply(await tagging.prepare(batch), NoTransaction())

    assert table.superseded == {one.event.event.image_id: Made(NOW, is_fresh=True) for one in batch}


async def test_pictures_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics(CollectorRegistry())
    tagging, _, _ = role({"file:p/good.jpg": b"cat", "file:p/bad.jpg": b"broken"}, metrics)
    batch = [
        received("file:p/good.jpg", 0),
        received("file:p/good.jpg", 1),
        received("file:p/bad.jpg", 2),
    ]

    outcome = await tagging.apply(await tagging.prepare(batch), NoTransaction())

    def count(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"photo_archive_{name}", labels)

    def counted() -> list[float | None]:
        outcomes = ("tagged", "skipped", "failed")
        return [count("images_total", lane="fresh", outcome=one) for one in outcomes]

    assert not any(counted()), "it may be rolled back"
    for tell in outcome.notices:
        tell()
    assert counted() == [1, 1, 1]
    assert count("image_failures_total", reason="image_unreadable") == 1
    assert (count("tagging_seconds_total", stage="fetch") or 0) > 0


async def test_an_image_inside_the_record_is_kept_and_tagged_beside_fetched_ones() -> None:
    tagging, table, blobs = role({"file:p/a.jpg": b"aaa", "file:p/b.jpg": b"bbb"})
    inline = "blob:" + "0" * 64
    batch = [
        received("file:p/a.jpg", 0),
        received(inline, 1, content=b"inside"),
        received("file:p/b.jpg", 2),
    ]

    await tagging.apply(await tagging.prepare(batch), NoTransaction())

    assert blobs.kept == [b"inside"]
    assert {uri: tags.tags[0].tag for uri, tags in table.rows.items()} == {
        "file:p/a.jpg": "aaa",
        inline: "inside",
        "file:p/b.jpg": "bbb",
    }


async def test_of_one_image_twice_in_a_batch_the_last_arrival_counts() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    first, last = received("file:p/a.jpg", 0), received("file:p/a.jpg", 1, labels=("x",))

    items = await tagging.prepare([first, last])
    outcome = await tagging.apply(items, NoTransaction())

    assert len(table.rows) == 1
    assert len(outcome.emitted) == 1


async def test_an_arrival_older_than_the_images_deletion_is_skipped() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat", "file:p/b.jpg": b"dog"})
    batch = [received("file:p/a.jpg", 0), received("file:p/b.jpg", 1)]
    table.deleted = {
        batch[0].event.event.image_id: NOW + timedelta(seconds=1),
        batch[1].event.event.image_id: NOW - timedelta(seconds=1),
    }

    await tagging.apply(await tagging.prepare(batch), NoTransaction())

    assert set(table.rows) == {"file:p/b.jpg"}


async def test_a_replayed_letter_from_before_the_deletion_does_not_hide_a_new_arrival() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    new = received("file:p/a.jpg", 0, at=NOW + timedelta(seconds=2))
    old = received("file:p/a.jpg", 1, labels=("x",), at=NOW + timedelta(seconds=3))
    headers = (("ce_time", NOW.isoformat().encode()),)
    replayed = replace(old, record=replace(old.record, headers=headers))
    table.deleted = {new.event.event.image_id: NOW + timedelta(seconds=1)}

    items = await tagging.prepare([new, replayed])
    outcome = await tagging.apply(items, NoTransaction())

    assert set(table.rows) == {"file:p/a.jpg"}
    assert len(outcome.emitted) == 1


@pytest.mark.parametrize(
    ("made_at", "is_skipped"),
    [
        ("2026-04-30T23:59:59+00:00", True),
        ("2026-04-30T23:59:59", True),  # without a zone: UTC
        ("2026-05-01T03:00:02+02:00", False),
        ("2026-05-01T09:00:00+00:00", False),  # a clock ahead: no later than it was published
        ("yesterday", False),
    ],
)
async def test_an_arrival_that_was_published_late_is_as_old_as_its_event(
    made_at: str, *, is_skipped: bool
) -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    late = received("file:p/a.jpg", 0, at=NOW + timedelta(hours=2))
    record = replace(late.record, headers=(("ce_time", made_at.encode()),))
    table.deleted = {late.event.event.image_id: NOW + timedelta(seconds=1)}

    await tagging.apply(await tagging.prepare([replace(late, record=record)]), NoTransaction())

    assert (table.rows == {}) is is_skipped


@pytest.mark.parametrize(
    ("made_at", "expected"),
    [
        ("2026-05-01T02:00:00+02:00", NOW),
        ("2027-05-01T00:00:00+00:00", NOW + timedelta(hours=2)),  # a clock ahead
        ("yesterday", NOW + timedelta(hours=2)),
    ],
)
async def test_the_arrivals_own_time_is_stored_with_its_tags(
    made_at: str, expected: datetime
) -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    late = received("file:p/a.jpg", 0, at=NOW + timedelta(hours=2))
    record = replace(late.record, headers=(("ce_time", made_at.encode()),))

    await tagging.apply(await tagging.prepare([replace(late, record=record)]), NoTransaction())

    assert table.times == {"file:p/a.jpg": expected}


@pytest.mark.parametrize(("ms", "year"), [(-1, 1970), (2**62, 9999)])
async def test_a_time_that_cannot_be_is_stored_as_the_nearest_that_can(ms: int, year: int) -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    odd = replace(received("file:p/a.jpg", 0), timestamp_ms=ms)

    await tagging.apply(await tagging.prepare([odd]), NoTransaction())

    assert [at.year for at in table.times.values()] == [year]


@pytest.mark.parametrize(
    ("seconds", "lane", "counts"),
    [
        (1, Lane.BULK, True),
        (1, Lane.FRESH, True),
        (0, Lane.FRESH, True),  # of equal times the fresh lane wins
        (0, Lane.BULK, False),
        (-1, Lane.BULK, False),
        (-1, Lane.FRESH, False),
    ],
)
async def test_an_arrival_made_before_the_one_that_the_tags_come_from_is_skipped(
    seconds: float, lane: Lane, *, counts: bool
) -> None:
    metrics = Metrics(CollectorRegistry())
    tagging, table, blobs = role({"file:p/a.jpg": b"cat"}, metrics)
    await tagging.apply(await tagging.prepare([received("file:p/a.jpg", 0)]), NoTransaction())
    blobs.contents["file:p/a.jpg"] = b"dog"

    later = received("file:p/a.jpg", 1, at=NOW + timedelta(seconds=seconds), lane=lane)
    outcome = await tagging.apply(await tagging.prepare([later]), NoTransaction())

    assert table.rows["file:p/a.jpg"].tags[0].tag == ("dog" if counts else "cat")
    assert len(outcome.emitted) == counts
    assert table.skipped == ([] if counts else ["file:p/a.jpg"])
    for tell in outcome.notices:
        tell()
    assert metrics.images.labels(lane, "skipped")._value.get() == (not counts)


async def test_a_failure_of_an_older_arrival_says_nothing_of_an_image_with_newer_tags() -> None:
    tagging, table, blobs = role({"file:p/a.jpg": b"cat"})
    await tagging.apply(await tagging.prepare([received("file:p/a.jpg", 0)]), NoTransaction())
    blobs.contents["file:p/a.jpg"] = b"broken"

    older = received("file:p/a.jpg", 1, at=NOW - timedelta(hours=1), lane=Lane.BULK)
    outcome = await tagging.apply(await tagging.prepare([older]), NoTransaction())

    assert table.failed == {}
    assert outcome.emitted == ()
    assert [rejection.offset for rejection in outcome.rejected] == [1], "no record is lost"


async def test_of_one_image_twice_in_a_batch_the_arrival_made_last_counts() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    new = received("file:p/a.jpg", 0, labels=("x",))
    replayed = received("file:p/a.jpg", 1, at=NOW - timedelta(hours=1))

    await tagging.apply(await tagging.prepare([new, replayed]), NoTransaction())

    assert table.times == {"file:p/a.jpg": NOW}


async def test_a_plan_made_under_older_labels_is_made_again() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    items = await tagging.prepare([received("file:p/a.jpg", 0)])
    table.version = 2

    with pytest.raises(StaleLabels):
        await tagging.apply(items, NoTransaction())

    assert table.rows == {}


async def test_a_change_of_the_default_labels_leaves_an_images_own_labels_alone() -> None:
    tagging, table, _ = role({"file:p/a.jpg": b"cat"})
    items = await tagging.prepare([received("file:p/a.jpg", 0, labels=("lynx",))])
    table.version = 2

    await tagging.apply(items, NoTransaction())

    assert set(table.rows) == {"file:p/a.jpg"}


async def test_a_store_that_is_away_is_not_the_images_fault() -> None:
    tagging, _, blobs = role({})
    blobs.away = True

    with pytest.raises(BlobStoreAway):
        await tagging.prepare([received("file:p/a.jpg", 0)])


async def test_a_record_that_the_loop_gave_up_is_written_down_as_a_failure() -> None:
    tagging, table, _ = role({})
    crashed: Item[Arrival, Tagged | Postponed] = Item(
        received("file:p/a.jpg", 7), PermanentError("killed us", reason="process_crashed")
    )

    outcome = await tagging.apply([crashed], NoTransaction())

    assert table.failed["file:p/a.jpg"].reason == "process_crashed"
    assert [rejection.offset for rejection in outcome.rejected] == [7]


async def test_a_replay_emits_the_same_event_ids() -> None:
    tagging, _, _ = role({"file:p/a.jpg": b"cat"})
    batch = [received("file:p/a.jpg", 0)]

    ids = [
        (await tagging.apply(await tagging.prepare(batch), NoTransaction()))
        .emitted[0]
        .header("ce_id")
        for _ in range(2)
    ]

    assert ids[0] == ids[1]


async def test_an_arrival_that_lies_twice_in_the_log_emits_one_event_id() -> None:
    tagging, _, _ = role({"file:p/a.jpg": b"cat"})
    first = received("file:p/a.jpg", 0)
    again = replace(first, offset=9)

    ids = {await emitted_id(tagging, arrival) for arrival in (first, again)}

    assert len(ids) == 1


async def test_another_outcome_of_the_same_arrival_is_another_event() -> None:
    tagging, _, blobs = role({"file:p/a.jpg": b"broken"})
    arrival = received("file:p/a.jpg", 0)
    ids = [await emitted_id(tagging, arrival)]

    for content in (b"cat", b"dog"):
        blobs.contents["file:p/a.jpg"] = content
        ids.append(await emitted_id(tagging, arrival))

    assert len(set(ids)) == 3


async def emitted_id(tagging: TaggingRole, arrival: Received[Arrival]) -> str | None:
    """Return the id of the only event that tagging this arrival emits."""
    outcome = await tagging.apply(await tagging.prepare([arrival]), NoTransaction())
    (record,) = outcome.emitted
    return record.header("ce_id")
