"""An archive with few, similar, often changing images."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from consumers.best_images import BestImages
from consumers.upkeep.repair import BestImagesRepair
from core.relevance.combos import lookup_keys, resolve
from core.relevance.ranking import Rank, ScoredImage, recency
from core.storage import labels
from core.storage.archive import following, image_tags
from core.storage.archive.image_tags import TaggedImage
from core.storage.best import combos
from core.storage.pool import Pool
from core.tags import ImageTags, Label, TagScore, score_to_int
from core.transaction import Transaction
from schemas.image import image_id_of

LABELS = tuple(f"label {number}" for number in range(8))
IMAGES = 80
# Few scores and times, so that many sums, times and both are equal.
SCORES = (100_000, 200_000, 200_000, 300_000, 0)
TIMES = (None, datetime(2020, 1, 1), datetime(2021, 1, 1), datetime(2999, 1, 1))  # noqa: DTZ001
CAMERAS = ("Leica M3", None, "Canon EOS 5D", "Leica M3")
EMBEDDING = b"\x00\x38" * 4


def tagged(number: int, scores: dict[str, int], exif: datetime | None = None) -> TaggedImage:
    uri = f"file:photos/{number}.jpg"
    best_first = sorted(scores.items(), key=lambda item: -item[1])
    return TaggedImage(
        image_id=image_id_of(uri),
        uri=uri,
        path=f"photos/{number}.jpg",
        owner=None,
        job_id=None,
        tags=ImageTags(
            tags=tuple(TagScore(name, score) for name, score in best_first),
            sha256=number.to_bytes(32, "big"),
            width=4,
            height=3,
            model="fake-1",
            preprocessing="exact-1",
            embedding=EMBEDDING,
            exif_datetime=exif,
            media_type="image/jpeg",
            camera=CAMERAS[number % len(CAMERAS)],
        ),
        label_version=1,
        top_k=4,
    )


def random_scores(chance: random.Random, most: int = 5) -> dict[str, int]:
    names = chance.sample(LABELS, chance.randint(1, most))
    return {name: chance.choice(SCORES) for name in names}


async def store(pool: Pool, best: BestImages, batch: Sequence[TaggedImage]) -> None:
    """Store tags as the tagging process does."""
    async with pool.transaction() as tx:
        names = {tag.tag for image in batch for tag in image.tags.tags}
        label_ids = await labels.known(tx, names)
        if len(label_ids) < len(names):
            await image_tags.lock(tx, [image.image_id for image in batch])
            label_ids = await labels.ensure(tx, names)
        await best.begin(tx)
        await best.offer(tx, await image_tags.replace(tx, batch, label_ids))


async def upkeep(pool: Pool, repairer: BestImagesRepair) -> bool:
    """Do a step of what upkeep does for the answers; False where there is nothing to do."""
    async with pool.transaction() as tx:
        if await following.follow_noted(tx):
            return True
    async with pool.connection() as connection:
        if not await repairer.is_needed(connection):
            return False
    return await repairer.step()


async def define_labels(pool: Pool) -> list[int]:
    async with pool.transaction() as tx:
        await labels.define_if_absent(tx, tuple(map(Label, LABELS)))
    return sorted((await labels.known(pool, LABELS)).values())


async def stored_images(connection: Transaction) -> list[ScoredImage]:
    """All answers, read from what people see (`tags`, times, status): the oracle of the rest."""
    ids = {row["name"]: row["id"] for row in await connection.fetch("SELECT name, id FROM labels")}
    rows = await connection.fetch(
        "SELECT t.id, t.tags, t.exif_datetime, t.created_at, now() AS now "
        "FROM tagged_images t JOIN images i USING (image_id) "
        "WHERE i.status = 'tagged' AND NOT i.excluded"
    )
    return [
        ScoredImage(
            row["id"],
            recency(row["exif_datetime"], row["created_at"], row["now"]),
            tuple(
                (ids[tag["tag"]], score_to_int(tag["score"]))
                for tag in json.loads(row["tags"])
                if tag["tag"] in ids
            ),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Looked:
    """The result of the table; `is_known` False: exact SQL must answer."""

    is_known: bool
    rank: Rank | None


async def look_up(connection: Transaction, wanted: Sequence[int]) -> Looked:
    keys = lookup_keys(wanted)
    view = await combos.look_up(connection, keys, wanted)
    if not view.knows(frozenset(wanted)):
        return Looked(is_known=False, rank=None)
    rows = {key: None if row is None else Rank(*row) for key, row in view.rows.items()}
    resolved = resolve(keys, rows)
    return Looked(resolved.is_known, resolved.rank)


def tags_text(scores: dict[str, int]) -> str:
    return json.dumps([{"tag": tag, "score": score / 1e6} for tag, score in scores.items()])


def image_id(number: int) -> UUID:
    return image_id_of(f"file:photos/{number}.jpg")
