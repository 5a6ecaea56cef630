"""Batches of photos that are tagged already, as the tagging role hands them to its `apply`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np

from benchmarks.harness.archives import SEED, Kind, make_scores
from consumers.tagging.arrivals import Arrival
from core.messaging.cloudevents import encode
from core.messaging.role import Item, Received
from core.offsets import Bid, Move
from core.tags import ImageTags, Postponed, Tagged, TagScore
from schemas.image import ImageArrived
from schemas.record import Partition
from schemas.topics import IMAGES_ARRIVED

BATCH = 64  # CONSUMER_BATCH_MAX_RECORDS
DIM = 512  # ViT-B-32
_TAKEN_FIRST = datetime(2006, 1, 1)  # noqa: DTZ001 - EXIF has no zone
_TAKEN_DAYS = 20 * 365
_CAMERAS = ("Canon EOS 5D", "Nikon D90", "Sony ILCE-7M3", "Apple iPhone 12", None)


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several tagging processes writes.

    Attributes:
        number: which of them, from 0.
        processes: how many there are.
        batches: how many it writes.
    """

    number: int
    processes: int
    batches: int

    @property
    def partitions(self) -> list[Partition]:
        """Return the partitions that the group's assignment would give it."""
        numbers = range(self.number, IMAGES_ARRIVED.partitions, self.processes)
        return [Partition(IMAGES_ARRIVED.name, number) for number in numbers]

    @property
    def bids(self) -> list[Bid]:
        """Return these partitions, their logs filled."""
        return [Bid(partition, 0, self.batches * BATCH) for partition in self.partitions]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is ready to be written: items, and by how much each partition moves."""

    items: Sequence[Item[Arrival, Tagged | Postponed]]
    moves: Sequence[Move]


def make_batches(share: Share, kind: Kind, *, label_version: int, epoch: int) -> Iterator[Batch]:
    """Yield batches of new photos, whose scores are a softmax's and whose embeddings are random."""
    chance = np.random.default_rng([SEED, share.number, share.processes])
    at = dict.fromkeys(share.partitions, 0)
    for number in range(share.batches):
        label_ids, scores = make_scores(kind, BATCH, chance)
        vectors = chance.standard_normal((BATCH, DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        before = dict(at)
        items: list[Item[Arrival, Tagged | Postponed]] = []
        for place in range(BATCH):
            partition = share.partitions[place % len(share.partitions)]
            event = ImageArrived(uri=_uri(share, number * BATCH + place))
            tags = zip(label_ids[place].tolist(), scores[place].tolist(), strict=True)
            plan = Tagged(
                _tags(list(tags), vectors[place].astype("<f2").tobytes(), chance),
                label_version,
                kind.per_image,
            )
            items.append(Item(_received(event, partition, at[partition]), plan))
            at[partition] += 1
        moves = [Move(one, epoch, before[one], at[one]) for one in share.partitions]
        yield Batch(items, [move for move in moves if move.to_offset > move.from_offset])


def _uri(share: Share, number: int) -> str:
    folder, name = divmod(number, 1000)
    return f"file:photos/{share.processes}-{share.number}/{folder:04}/IMG_{name:04}.jpg"


def _received(event: ImageArrived, partition: Partition, offset: int) -> Received[Arrival]:
    now = datetime.now(UTC)
    record = encode(
        IMAGES_ARRIVED,
        event,
        key=str(event.image_id),
        event_id=str(uuid4()),
        source="/producers/images",
        now=now,
    )
    return Received(Arrival(event), partition, offset, record, int(now.timestamp() * 1000))


def _tags(
    scored: Sequence[tuple[int, int]], embedding: bytes, chance: np.random.Generator
) -> ImageTags:
    best_first = sorted(scored, key=lambda tag: -tag[1])
    return ImageTags(
        tags=tuple(TagScore(f"label {label}", score) for label, score in best_first),
        sha256=chance.bytes(32),
        width=4032,
        height=3024,
        model="bench@0000000000000000",
        preprocessing="fast-2",
        embedding=embedding,
        exif_datetime=_TAKEN_FIRST + timedelta(seconds=int(chance.integers(_TAKEN_DAYS * 86400))),
        exif_source="DateTimeOriginal",
        media_type="image/jpeg",
        camera=_CAMERAS[int(chance.integers(len(_CAMERAS)))],
        perceptual_hash=int(chance.integers(2**63 - 1)),
        colour=int(chance.integers(2**24)),
    )
