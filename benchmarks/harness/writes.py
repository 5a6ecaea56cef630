"""The cost of the table of best images in the tagging transaction."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.harness.archives import SEED, Kind, make_scores
from benchmarks.harness.report import percentile
from consumers.best_images import BestImages
from core.storage import labels
from core.storage.archive import image_tags
from core.storage.archive.image_tags import TaggedImage
from core.storage.pool import Pool
from core.tags import ImageTags, TagScore
from schemas.image import image_id_of

BATCH = 64
EMBEDDING = bytes(1024)  # 512 dimensions, float16


@dataclass(slots=True)
class WriteCost:
    """Milliseconds per batch of 64: the whole transaction, and the part for that table."""

    new: list[float] = field(default_factory=list)
    new_table: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    again_table: list[float] = field(default_factory=list)

    @property
    def new_share(self) -> float:
        """Return the table's share of the transaction that stores new images."""
        return sum(self.new_table) / sum(self.new)

    def cells(self) -> tuple[str, str, str, str]:
        """Return p50 and share for new images, and for images tagged again."""
        share = sum(self.again_table) / sum(self.again)
        return (
            f"{percentile(self.new, 0.5):.1f}",
            f"{percentile(self.new_table, 0.5):.2f} ({self.new_share:.0%})",
            f"{percentile(self.again, 0.5):.1f}",
            f"{percentile(self.again_table, 0.5):.2f} ({share:.0%})",
        )


async def measure_writes(pool: Pool, kind: Kind, batches: int) -> WriteCost:
    """Store new images, then store the same ones with other tags."""
    cost, best = WriteCost(), BestImages(is_softmax=True)
    chance = np.random.default_rng(SEED + 1)
    first = await _batches(kind, batches + 5, chance)
    for number, batch in enumerate(first):  # the first five are a warm-up
        whole, table = await _store(pool, best, batch)
        if number >= 5:
            cost.new.append(whole)
            cost.new_table.append(table)
    for batch in await _batches(kind, batches, chance):
        whole, table = await _store(pool, best, batch)
        cost.again.append(whole)
        cost.again_table.append(table)
    return cost


async def _store(pool: Pool, best: BestImages, batch: Sequence[TaggedImage]) -> tuple[float, float]:
    began = time.perf_counter()
    async with pool.transaction() as tx:
        names = {tag.tag for image in batch for tag in image.tags.tags}
        label_ids = await labels.known(tx, names)
        start = time.perf_counter()
        await best.begin(tx)
        table = time.perf_counter() - start
        stored = await image_tags.replace(tx, batch, label_ids)
        start = time.perf_counter()
        await best.offer(tx, stored)
        table += time.perf_counter() - start
    return (time.perf_counter() - began) * 1000, table * 1000


async def _batches(
    kind: Kind, batches: int, chance: np.random.Generator
) -> list[list[TaggedImage]]:
    label_ids, scores = make_scores(kind, batches * BATCH, chance)
    images = [
        _image(number, zip(label_ids[number].tolist(), scores[number].tolist(), strict=True))
        for number in range(batches * BATCH)
    ]
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


def _image(number: int, tags: "zip[tuple[int, int]]") -> TaggedImage:
    uri = f"file:bench/{number}.jpg"
    best_first = sorted(tags, key=lambda tag: -tag[1])
    return TaggedImage(
        image_id=image_id_of(uri),
        uri=uri,
        path=uri,
        owner=None,
        job_id=None,
        tags=ImageTags(
            tags=tuple(TagScore(f"label {label}", score) for label, score in best_first),
            sha256=(2**200 + number).to_bytes(32, "big"),
            width=4,
            height=3,
            model="bench",
            preprocessing="exact-1",
            embedding=EMBEDDING,
            media_type="image/jpeg",
        ),
        label_version=1,
        top_k=4,
    )
