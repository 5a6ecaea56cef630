"""A long stream through the tagging role: random batches, broken photos, outages, replays.

Vectors depend only on the picture, so a tag on the wrong photo is noticed.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from consumers.tagging.arrivals import Arrival
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.role import TaggingRole
from core.errors import BlobStoreAway, PermanentError, TransientError
from core.messaging.role import Received
from core.tags import ImageTags, Label, Made, Postponed, Tagged, TagRequest
from core.telemetry.metrics import Metrics
from core.vision.tagger import ClipTagger, TaggerOptions
from schemas.image import ImageArrived
from schemas.record import Partition, Record
from schemas.topics import IMAGES_ARRIVED
from tests.fakes.transactions import NoTransaction
from tests.fakes.vision import HashModel, MemoryDecoder

PHOTOS = 2_000
SEEDS = (1, 20260501)
LABELS = tuple(Label(name) for name in ("cat", "dog", "car", "beach", "city"))
OPTIONS = TaggerOptions(
    scoring="softmax",
    top_k=3,
    batch_max_images=7,
    batch_max_pixels=10**9,
    preprocessing="exact-1",
    templates=("a photo of {}",),
    background=("a photo",),
)


def picture(number: int) -> bytes:
    return b"\xff\xd8\xff\xe0" + number.to_bytes(4, "big")


def uri_of(number: int) -> str:
    return f"file:p/{number}.jpg"


def is_broken(number: int) -> bool:
    return number % 100 == 50


@dataclass
class FailingBlobs:
    """A blob store with every hundredth photo broken (or none), which is away at times."""

    chance: random.Random
    has_broken: bool

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        if self.chance.random() < 0.05:
            raise BlobStoreAway("store is away")
        numbers = [int(uri.removeprefix("file:p/")[:-4]) for uri in uris]
        return [
            b"broken" if self.has_broken and is_broken(number) else picture(number)
            for number in numbers
        ]

    async def keep(self, content: bytes) -> str:
        raise AssertionError(content)


@dataclass
class Restarting:
    """A tagger whose process dies at times and is replaced."""

    chance: random.Random
    clip: ClipTagger | None = None
    restarts: int = 0

    async def refresh(self) -> None:
        if self.clip is None or self.chance.random() < 0.05:
            self.restarts += 1
            self.clip = ClipTagger(MemoryDecoder(), HashModel(), OPTIONS)
            await self.clip.use_labels(LABELS, 1)

    async def tag_all(
        self, images: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> Sequence[Tagged | PermanentError | Postponed]:
        assert self.clip is not None
        if self.chance.random() < 0.05:
            raise TransientError("no room for a single picture")
        return await self.clip.tag_all(images, requests)


@dataclass
class Table:
    rows: dict[str, ImageTags] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    async def label_version(self, tx: Any) -> int:
        return 1

    async def latest(self, tx: Any, image_ids: Sequence[UUID]) -> dict[UUID, Made]:
        return {}

    async def skip(self, tx: Any, arrivals: Sequence[Arrival], counted: Any) -> None:
        raise AssertionError(arrivals)

    async def stay_deleted(
        self, tx: Any, scanned: Sequence[Any], image_ids: Collection[UUID]
    ) -> list[bool]:
        return [False for _ in scanned]

    async def replace(self, tx: Any, images: Sequence[tuple[Arrival, Tagged, Made]]) -> None:
        self.rows |= {arrival.event.uri: plan.tags for arrival, plan, _ in images}

    async def record_failures(
        self, tx: Any, failed: Sequence[tuple[Arrival, PermanentError, Made]]
    ) -> None:
        self.failed |= {arrival.event.uri: error.reason for arrival, error, _ in failed}

    async def park(self, tx: Any, images: Any, places: Any) -> None:
        raise AssertionError(images)

    async def supersede(self, tx: Any, done: Sequence[tuple[UUID, Made]], per_job: Any) -> None:
        assert done
        assert not per_job


def received(number: int) -> Received[Arrival]:
    return Received(
        event=Arrival(ImageArrived(uri=uri_of(number))),
        partition=Partition(IMAGES_ARRIVED.name, number % 12),
        offset=number // 12,
        record=Record(IMAGES_ARRIVED.name, None, (), b""),
        timestamp_ms=0,
    )


async def stream(seed: int, *, has_broken: bool) -> tuple[Table, int]:
    """Tag all photos in batches of random sizes, with retries after outages."""
    chance, table = random.Random(seed), Table()
    tagger = Restarting(chance)
    measuring = TaggingMetrics(Metrics(CollectorRegistry()))
    role = TaggingRole(FailingBlobs(chance, has_broken), tagger, table, measuring)
    order = list(range(PHOTOS))
    chance.shuffle(order)
    while order:
        batch = [received(number) for number in order[: chance.randint(1, 60)]]
        try:
            items = await role.prepare(batch)
        except TransientError:
            continue
        if chance.random() < 0.05:  # killed between prepare and apply, so it is repeated
            continue
        await role.apply(items, NoTransaction())
        if chance.random() > 0.05:  # else the answer to the commit was lost, so it is applied twice
            del order[: len(batch)]
    return table, tagger.restarts


@pytest.mark.parametrize("seed", SEEDS)
async def test_2000_photos_through_faults_and_restarts_each_have_their_own_tags(seed: int) -> None:
    table, restarts = await stream(seed, has_broken=True)

    fresh = ClipTagger(MemoryDecoder(), HashModel(), OPTIONS)
    await fresh.use_labels(LABELS, 1)
    whole = [number for number in range(PHOTOS) if not is_broken(number)]
    alone = [(await fresh.tag_all([picture(n)], [TagRequest(None, None)]))[0] for n in whole]
    expected = {
        uri_of(number): result.tags
        for number, result in zip(whole, alone, strict=True)
        if isinstance(result, Tagged)
    }
    assert restarts > 1
    assert len(expected) == len({tags.embedding for tags in expected.values()}) == len(whole)
    assert table.rows == expected
    assert set(table.failed) == {uri_of(number) for number in range(PHOTOS) if is_broken(number)}


async def test_one_broken_photo_in_a_hundred_changes_no_other_photos_tags() -> None:
    with_broken, _ = await stream(SEEDS[0], has_broken=True)
    all_whole, _ = await stream(SEEDS[0], has_broken=False)

    assert len(all_whole.rows) == PHOTOS
    assert len(with_broken.rows) == PHOTOS - PHOTOS // 100
    assert all(all_whole.rows[uri] == tags for uri, tags in with_broken.rows.items())
    assert set(with_broken.failed.values()) == {"not_an_image"}
