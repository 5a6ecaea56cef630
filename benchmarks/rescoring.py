"""Re-scoring of a whole archive from its embeddings after a change of labels.

    python -m benchmarks.rescoring [--quick] [--images 100000] [--labels 14] [--top-k 4]

It uses a real PostgreSQL and embeddings of 512 dimensions, does all that the tagging process does
for a re-score, and measures the images/s written to the database. A second run does so while photos
arrive in the same tables; the tags that queries read meanwhile are compared with the old and the
new ones.
"""

import argparse
import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from benchmarks.harness.report import goal, print_machine
from consumers.best_images import BestImages
from consumers.tagging.labelled_tagger import LabelledTagger
from consumers.tagging.rescoring import Rescoring
from core.errors import PermanentError
from core.settings import DatabaseSettings
from core.storage import labels
from core.storage.archive import image_tags
from core.storage.archive.image_tags import TaggedImage
from core.storage.pool import Pool, open_pool
from core.tags import ImageTags, Label, TagRequest, TagScore
from core.vision.decoding.pool.answers import Decoded
from core.vision.tagger import ClipTagger, TaggerOptions
from migrations.schema import upgrade
from schemas.image import image_id_of
from standalone.postgres.server import EmbeddedPostgres

DIM = 512
SEED = 20260501
CHUNK = 1000
_SEEN = """
SELECT t.image_path, array_agg(l.name) AS names, array_agg(s.score) AS scores
FROM tagged_images t JOIN image_tags s ON s.image_id = t.id JOIN labels l ON l.id = s.label_id
WHERE t.id = ANY($1::int8[]) GROUP BY t.image_path
"""
Tags = dict[str, int]


class NoDecoder:
    """A decoder that refuses, since a re-score must not read images."""

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        """Raise: a re-score must not read a picture."""
        raise AssertionError(f"{len(data)} bytes were to be decoded")


class RandomTexts:
    """A model with random text vectors that refuses pictures."""

    identity = "bench@0000000000000000"
    logit_scale = 100.0
    logit_bias: float | None = None
    small_batch = 8

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raise: a re-score must not read a picture."""
        raise AssertionError(f"{len(batch)} pictures were to be encoded")

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return a unit vector per name."""
        del templates
        seeds = [int.from_bytes(label.name.encode()[-8:], "big") for label in labels]
        rows = np.stack([np.random.default_rng(seed).standard_normal(DIM) for seed in seeds])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        unit: NDArray[np.float32] = rows.astype(np.float32)
        return unit


@dataclass(frozen=True, slots=True)
class Bench:
    """An archive and the parts that re-score it."""

    pool: Pool
    clip: ClipTagger
    best: BestImages
    top_k: int

    async def define(self, prefix: str, count: int) -> float:
        """Replace every second label; return the seconds it took."""
        began = time.monotonic()
        names = [f"{'kept' if at % 2 else prefix} {at}" for at in range(count)]
        async with self.pool.transaction() as tx:
            version = await labels.define(tx, [Label(name) for name in names])
        current = await labels.current(self.pool)
        await self.clip.use_labels(current.labels, version)
        return time.monotonic() - began

    async def tags(self, vectors: Sequence[bytes]) -> list[tuple[TagScore, ...]]:
        """Return the tags under the tagger's current labels."""
        wanted = [TagRequest(None, self.top_k)] * len(vectors)
        return [tags for tags, _ in await self.clip.score_embeddings(vectors, wanted)]

    async def store(self, first: int, vectors: Sequence[bytes]) -> None:
        """Store photos as the tagging role does."""
        version = self.clip.label_version
        images = [
            _image(first + at, vector, tags, version or 0, self.top_k)
            for at, (vector, tags) in enumerate(zip(vectors, await self.tags(vectors), strict=True))
        ]
        async with self.pool.transaction() as tx:
            if await labels.hold_version(tx) != version:
                raise SystemExit("labels changed in the middle of the benchmark")
            ids = await labels.known(tx, {tag.tag for one in images for tag in one.tags.tags})
            await self.best.begin(tx)
            await self.best.offer(tx, await image_tags.replace(tx, images, ids))

    async def rescore(self) -> float:
        """Re-score; return the seconds until no image has tags of older labels."""
        began = time.monotonic()
        rescoring = Rescoring(self.pool, LabelledTagger(self.pool, self.clip), self.best)
        while await rescoring.step():
            pass
        return time.monotonic() - began


def _image(
    number: int, vector: bytes, tags: tuple[TagScore, ...], version: int, top_k: int
) -> TaggedImage:
    uri = f"file:bench/{number}.jpg"
    told = ImageTags(
        tags=tags,
        sha256=number.to_bytes(32, "big"),
        width=1280,
        height=960,
        model=RandomTexts.identity,
        preprocessing="fast-1",
        embedding=vector,
    )
    return TaggedImage(
        image_id_of(uri), uri, f"bench/{number}.jpg", None, None, told, version, top_k
    )


def make_vectors(count: int) -> list[bytes]:
    """Return random unit vectors in the stored format."""
    rows = np.random.default_rng(SEED).standard_normal((count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [row.tobytes() for row in rows.astype("<f2")]


async def watch(bench: Bench, sides: Sequence[Sequence[Tags]], done: asyncio.Event) -> int:
    """Compare the tags read with the old and the new ones; return how many images were read."""
    chance, looked = random.Random(SEED), 0
    while not done.is_set():
        numbers = chance.sample(range(1, len(sides[0]) + 1), 50)
        for row in await bench.pool.fetch(_SEEN, numbers):
            at = int(row["image_path"].removeprefix("bench/")[:-4])
            seen = dict(zip(row["names"], row["scores"], strict=True))
            if seen not in (sides[0][at], sides[1][at]):
                raise SystemExit(f"image {at} has neither its old nor its new tags: {seen}")
            looked += 1
        await asyncio.sleep(0.02)
    return looked


async def arrive(bench: Bench, first: int, vectors: Sequence[bytes]) -> float:
    """Store photos in batches of 32 as fast as possible; return photos/s."""
    began = time.monotonic()
    for at in range(0, len(vectors), 32):
        await bench.store(first + at, vectors[at : at + 32])
    return len(vectors) / (time.monotonic() - began)


async def run(pool: Pool, images: int, count: int, top_k: int) -> None:
    """Load the archive, re-score it alone, re-score it while photos arrive."""
    options = TaggerOptions("softmax", top_k, 32, 10**9, "fast-1", ("{}",), ("a photo",))
    clip = ClipTagger(NoDecoder(), RandomTexts(), options)
    bench = Bench(pool, clip, BestImages(is_softmax=True), top_k)
    arriving = max(500, images // 20)
    vectors = make_vectors(images + arriving)
    await bench.define("first", count)
    began = time.monotonic()
    for at in range(0, images, CHUNK):
        await bench.store(at, vectors[at : at + CHUNK][: images - at])
    print(f"{images} images stored in {time.monotonic() - began:.0f} s")
    await bench.define("second", count)
    took = await bench.rescore()
    print(f"re-scored alone in {took:.1f} s: {images / took:.0f} images/s")
    await among_arrivals(bench, vectors, images, count)
    least = 5000 if count <= 100 else 1200
    name = f"re-scoring, {count} labels top {top_k}"
    goal(name, images / took, least, unit="images/s", at_most=False)


async def among_arrivals(bench: Bench, vectors: list[bytes], images: int, count: int) -> None:
    """Re-score while photos arrive and queries read."""
    old = [{tag.tag: tag.score for tag in tags} for tags in await bench.tags(vectors)]
    await bench.define("third", count)
    new = [{tag.tag: tag.score for tag in tags} for tags in await bench.tags(vectors)]
    done = asyncio.Event()
    watching = asyncio.create_task(watch(bench, (old[:images], new[:images]), done))
    arriving = asyncio.create_task(arrive(bench, images, vectors[images:]))
    took = await bench.rescore()
    speed = await arriving
    done.set()
    left = await bench.pool.fetchval(
        "SELECT count(*) FROM tagged_images WHERE label_version <> $1", bench.clip.label_version
    )
    print(
        f"among {len(vectors) - images} arrivals ({speed:.0f}/s): {images / took:.0f} images/s; "
        f"{await watching} looks at images, each old or new; {left} left with older tags"
    )


async def main_async(options: argparse.Namespace, folder: Path) -> None:
    """Start PostgreSQL, measure, stop it."""
    images = options.images or (5_000 if options.quick else 100_000)
    server = EmbeddedPostgres(folder, 21_700)
    server.start()
    try:
        os.environ["DATABASE_URL"] = server.url
        await upgrade()
        async with open_pool(DatabaseSettings(url=SecretStr(server.url))) as pool:
            await run(pool, images, options.labels, options.top_k)
    finally:
        server.stop()


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--top-k", type=int, default=4)
    options = parser.parse_args()
    print_machine()
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)
    try:
        asyncio.run(main_async(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
