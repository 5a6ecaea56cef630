"""Labels taught by photos: accuracy against words alone, false alarms, and a preview's time.

    python -m benchmarks.taught --data ../shared/data/photos-train [--quick] [--draws 6]

Of the training pictures ten classes are drawn that the default labels lack; each becomes a label,
by its name alone, and taught by 3, 5 or 10 pictures. Measured are the pictures of these classes
that have the right first tag, those of the default labels that keep it, and those of other classes
that are surely (over 0.5) given one of the ten labels. Only held-out pictures are used: the bundled
model has seen their classes, but not them. The last part previews a taught label over 100,000
embeddings in a real PostgreSQL, as the tagging process does.
"""

import argparse
import asyncio
import io
import os
import random
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import SecretStr

from benchmarks.harness.report import goal, print_machine
from benchmarks.rescoring import CHUNK, Bench, NoDecoder, RandomTexts, make_vectors
from consumers.best_images import BestImages
from consumers.tagging.previewing import Previewing
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DatabaseSettings, TaggingSettings
from core.storage import labels
from core.storage.pool import open_pool
from core.storage.scoring import label_previews
from core.tags import Label, Lesson
from core.vision.clip import BACKGROUND_PROMPTS, DEFAULT_TEMPLATES, ClipModel
from core.vision.opening import open_model
from core.vision.scoring import quantise
from core.vision.tagger import ClipTagger, TaggerOptions
from core.vision.teaching import GROUND
from migrations.schema import upgrade
from standalone.postgres.server import EmbeddedPostgres
from training.pictures import LabelledPicture, held_out, read_index, view_of

SEED = 20261130
CLASSES = 10
LEAST_PICTURES = 20  # of a class, to be drawn: ten may teach, the others are measured
OTHERS = 1_500  # pictures of other classes, and of the default labels, measured in each draw
SURE = 0.5
PREVIEWED = 100_000
OPTIONS = TaggerOptions("softmax", 1, 64, 10**9, "exact-2", DEFAULT_TEMPLATES, BACKGROUND_PROMPTS)


@dataclass(frozen=True, slots=True)
class EncodedPictures:
    """Held-out pictures with their embeddings."""

    rows: tuple[bytes, ...]
    classes: NDArray[np.str_]
    own: tuple[tuple[str, ...], ...]  # of the default labels


@dataclass(frozen=True, slots=True)
class Shares:
    """What came of one draw, as shares of pictures."""

    right: float
    kept: float
    false: float


@dataclass(frozen=True, slots=True)
class Draw:
    """Ten classes, the pictures that teach and those that are measured, by their places."""

    names: tuple[str, ...]
    teachers: Mapping[str, tuple[int, ...]]
    measured: tuple[int, ...]
    labelled: tuple[int, ...]
    others: tuple[int, ...]
    ground: tuple[int, ...]


async def encode(folder: Path, model: ClipModel, most: int) -> EncodedPictures:
    """Return held-out pictures, encoded: all, or `most` of them."""
    index = read_index(folder)
    outside = held_out([picture.source for picture in index])
    chosen = [picture for picture, is_out in zip(index, outside, strict=True) if is_out]
    chosen = random.Random(SEED).sample(chosen, min(most, len(chosen)))
    size = model.pixel_format(fast=False).height
    rows: list[bytes] = []
    shards = {name: zipfile.ZipFile(folder / name) for name in {one.shard for one in chosen}}
    for at in range(0, len(chosen), 64):
        views = [_view(shards, picture, size) for picture in chosen[at : at + 64]]
        rows += [row.tobytes() for row in quantise(await model.encode(np.stack(views)))]
    return EncodedPictures(
        tuple(rows),
        np.array([picture.source_class for picture in chosen]),
        tuple(picture.labels for picture in chosen),
    )


def _view(
    shards: Mapping[str, zipfile.ZipFile], picture: LabelledPicture, size: int
) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(shards[picture.shard].read(picture.file))) as image:
        return view_of(image, size)


def draw(pictures: EncodedPictures, seed: int, count: int) -> Draw:
    """Return ten classes at random, with `count` pictures each that teach."""
    chance = np.random.default_rng(seed)
    free = np.array([not own for own in pictures.own])
    names, sizes = np.unique(pictures.classes[free], return_counts=True)
    drawn = chance.choice(names[sizes >= LEAST_PICTURES], CLASSES, replace=False)
    teachers = {
        str(name): tuple(
            chance.choice(np.flatnonzero(pictures.classes == name), count, replace=False).tolist()
        )
        for name in drawn
    }
    taken = {at for own in teachers.values() for at in own}
    is_drawn = np.isin(pictures.classes, drawn)
    rest = chance.permutation(np.flatnonzero(free & ~is_drawn)).tolist()
    labelled = chance.permutation(np.flatnonzero(~free)).tolist()
    half, quarter = len(rest) // 2, len(labelled) // 2
    return Draw(
        tuple(map(str, drawn)),
        teachers,
        tuple(at for at in np.flatnonzero(is_drawn).tolist() if at not in taken),
        tuple(labelled[:quarter][:OTHERS]),
        tuple(rest[:half][:OTHERS]),
        tuple((rest[half:] + labelled[quarter:])[:GROUND]),
    )


async def shares(
    clip: ClipTagger, pictures: EncodedPictures, one: Draw, new: Sequence[Label]
) -> Shares:
    """Return what comes of the default labels with these new ones."""
    lessons = await _lessons(clip, pictures, one, new)

    async def first(places: Sequence[int]) -> list[tuple[str, float]]:
        rows = [pictures.rows[at] for at in places]
        found = await clip.score_under((*DEFAULT_LABELS, *new), rows, [1] * len(rows), lessons)
        return [(tags[0].tag, tags[0].confidence) for tags in found]

    hits: dict[str, list[bool]] = {name: [] for name in one.names}
    for at, (tag, _) in zip(one.measured, await first(one.measured), strict=True):
        hits[str(pictures.classes[at])].append(tag == pictures.classes[at])
    kept = [
        tag in pictures.own[at]
        for at, (tag, _) in zip(one.labelled, await first(one.labelled), strict=True)
    ]
    false = [tag in hits and score > SURE for tag, score in await first(one.others)]
    right = np.mean([np.mean(own) for own in hits.values()])
    return Shares(float(right), float(np.mean(kept)), float(np.mean(false)))


async def _lessons(
    clip: ClipTagger, pictures: EncodedPictures, one: Draw, new: Sequence[Label]
) -> dict[str, Lesson]:
    taught = [label.name for label in new if label.photos]
    photos = {name: [pictures.rows[at] for at in one.teachers[name]] for name in taught}
    ground = [pictures.rows[at] for at in one.ground]
    return await clip.learn((*DEFAULT_LABELS, *new), photos, dict.fromkeys(taught, ground))


async def accuracy(clip: ClipTagger, pictures: EncodedPictures, draws: int) -> None:
    """Print the shares of each way to define the labels; median and spread over the draws."""
    print(f"{len(pictures.rows)} held-out pictures, {draws} draws of {CLASSES} classes; least,")
    print("median and most of: right, default labels kept, false alarms over 0.5")
    gains: list[float] = []
    for count in (3, 5, 10):
        found: dict[str, list[Shares]] = {"words": [], "both": [], "photos": []}
        for seed in range(draws):
            one = draw(pictures, SEED + seed, count)
            words = [Label(name) for name in one.names]
            both = [replace(label, photos=(uuid4(),)) for label in words]
            alone = [replace(label, by_words=False) for label in both]
            for way, new in (("words", words), ("both", both), ("photos", alone)):
                found[way].append(await shares(clip, pictures, one, new))
        for way, all_shares in found.items():
            told = (
                _spread([one.right for one in all_shares]),
                _spread([one.kept for one in all_shares]),
                _spread([one.false for one in all_shares]),
            )
            print(f"  {count:2} pictures, {way:6}: " + "   ".join(told))
        if count == 5:
            pairs = zip(found["both"], found["words"], strict=True)
            gains = [100 * (both.right - words.right) for both, words in pairs]
            print(f"  5 pictures beside words, gain in points: {_spread(gains, 1)}")
    goal("taught by 5 photos", median(gains), 10, unit="points", at_most=False)


def _spread(values: Sequence[float], digits: int = 2) -> str:
    three = (min(values), median(values), max(values))
    return " ".join(f"{value:.{digits}f}" for value in three)


async def preview(images: int, folder: Path) -> None:
    """Print how long the preview of a taught label over so many embeddings takes."""
    server = EmbeddedPostgres(folder, 21_710)
    server.start()
    try:
        os.environ["DATABASE_URL"] = server.url
        await upgrade()
        async with open_pool(DatabaseSettings(url=SecretStr(server.url))) as pool:
            options = TaggerOptions("softmax", 4, 32, 10**9, "fast-1", ("{}",), ("a photo",))
            clip = ClipTagger(NoDecoder(), RandomTexts(), options)
            bench = Bench(pool, clip, BestImages(is_softmax=True), 4)
            await bench.define("first", len(DEFAULT_LABELS))
            vectors = make_vectors(images)
            for at in range(0, images, CHUNK):
                await bench.store(at, vectors[at : at + CHUNK])
            await pool.execute("ANALYZE")
            rows = await pool.fetch("SELECT image_id FROM tagged_images LIMIT 5")
            new = Label("our dacha", photos=tuple(row["image_id"] for row in rows))
            given = [*(await labels.current(pool)).labels, new]
            took = [await _preview(bench, given, images) for _ in range(3)]
    finally:
        server.stop()
    print(f"previews of {images} embeddings of 512: " + ", ".join(f"{one:.2f} s" for one in took))
    goal(f"preview over {images} embeddings", median(took), 2, unit="s", at_most=True)


async def _preview(bench: Bench, given: Sequence[Label], images: int) -> float:
    async with bench.pool.transaction() as tx:
        await label_previews.ask(tx, uuid4(), owner="me", labels=given, sample=images)
    began = time.monotonic()
    if not await Previewing(bench.pool, bench.clip).step():
        raise SystemExit("no preview was asked for")
    return time.monotonic() - began


async def main_async(options: argparse.Namespace, folder: Path) -> None:
    """Measure the accuracy with the bundled model, then a preview."""
    most = 4_000 if options.quick else 10_000
    async with open_model(TaggingSettings(model="demo")) as model:
        print(f"model {model.identity}")
        pictures = await encode(options.data, model, most)
        await accuracy(ClipTagger(NoDecoder(), model, OPTIONS), pictures, options.draws)
    await preview(10_000 if options.quick else PREVIEWED, folder)


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos-train.csv")
    parser.add_argument("--quick", action="store_true", help="fewer pictures and embeddings")
    parser.add_argument("--draws", type=int, default=6)
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
