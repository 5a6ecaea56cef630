"""A small archive of all kinds of images, and what is to be found in it, by looking at each one."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from consumers.best_images import BestImages
from core.relevance.ranking import recency
from core.storage import labels
from core.storage.archive import curation, image_tags, images, ownership
from core.storage.archive.images import FailedImage
from core.storage.finding import filters
from core.storage.finding.filters import ImageFilter
from core.storage.finding.orders import Order
from core.storage.pool import Pool
from core.tags import ImageTags, Label, TagScore, score_to_int
from schemas.image import image_id_of

LABELS = ("cat", "dog", "beach", "party", "snow")
FOLDERS = (
    "photos", "photos/2020", "photos/2020/may", "photos/2020.old", "photos/2020 b", "more", ""
)  # fmt: skip
CAMERAS = ("Leica M3", None, "Canon EOS 5D")
OWNERS = ("ann", "bob")
SCORES = (0, 100_000, 250_000, 250_000, 600_000)
START = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2999, 1, 1, tzinfo=UTC)
_ROWS = """
SELECT i.*, t.id AS number, t.tags, t.camera, t.exif_datetime, t.created_at, now() AS now,
       ARRAY(SELECT owner FROM image_owners o WHERE o.image_id = i.image_id) AS owners
FROM images i LEFT JOIN tagged_images t USING (image_id) WHERE i.status <> 'deleted'
"""


@dataclass(frozen=True, slots=True)
class Expected:
    """An image that is to be found, with its places in the orders."""

    image_id: UUID
    score: int | None
    keys: Mapping[Order, tuple[Any, ...]]


async def fill(pool: Pool, count: int, *, seed: int, first: int = 0) -> None:
    """Store images: tagged, failed, accepted, missing, excluded, tagged by hand, of some owners."""
    chance, best = random.Random(seed), BestImages(is_softmax=True)
    async with pool.transaction() as tx:
        await labels.define_if_absent(tx, tuple(map(Label, LABELS)))
    for number in range(first, first + count):
        path = "/".join(part for part in (chance.choice(FOLDERS), f"{number}.jpg") if part)
        owner, fate = chance.choice((None, *OWNERS)), chance.random()
        image_id = image_id_of(f"file:{path}")
        async with pool.transaction() as tx:
            await images.accept(
                tx, image_id=image_id, uri=f"file:{path}", path=path, owner=owner, job_id=None
            )
            if owner and chance.random() < 0.2:
                await ownership.join(tx, image_id, OWNERS[owner == OWNERS[0]])
        if fate < 0.1:
            continue
        if fate < 0.2:
            reason = chance.choice(("truncated", "image_unreadable"))
            failed = FailedImage(image_id, f"file:{path}", path, owner, None, reason, "…")
            async with pool.transaction() as tx:
                await images.record_failures(tx, [failed])
            continue
        tagged = _tagged(chance, number, path, image_id, owner)
        async with pool.transaction() as tx:
            label_ids = await labels.known(tx, LABELS)
            await best.begin(tx)
            await best.offer(tx, await image_tags.replace(tx, [tagged], label_ids))
            if chance.random() < 0.15:
                await curation.set_tags(tx, image_id, [TagScore("cat", 990_000)], by="ann")
            if chance.random() < 0.15:
                await curation.exclude(tx, image_id, excluded=True, by="ann")
        if fate > 0.95:
            await pool.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", image_id)


def _tagged(
    chance: random.Random, number: int, path: str, image_id: UUID, owner: str | None
) -> image_tags.TaggedImage:
    names = chance.sample(LABELS, chance.randint(0, 4))
    exif = chance.choice((None, START + timedelta(days=chance.randint(0, 9)), FUTURE))
    one = tagged(
        image_id, f"file:{path}", {name: chance.choice(SCORES) for name in names}, path=path
    )
    found = replace(
        one.tags,
        sha256=number.to_bytes(32, "big"),
        exif_datetime=None if exif is None else exif.replace(tzinfo=None),
        camera=chance.choice(CAMERAS),
    )
    return replace(one, owner=owner, tags=found)


def tagged(
    image_id: UUID,
    uri: str,
    scores: Mapping[str, int],
    *,
    path: str = "a.jpg",
    label_version: int = 1,
) -> image_tags.TaggedImage:
    """An image with these tags, as the tagging role stores it."""
    best_first = sorted(scores.items(), key=lambda item: -item[1])
    return image_tags.TaggedImage(
        image_id=image_id,
        uri=uri,
        path=path,
        owner=None,
        job_id=None,
        tags=ImageTags(
            tags=tuple(TagScore(name, score) for name, score in best_first),
            sha256=image_id.bytes * 2,
            width=4,
            height=3,
            model="fake-1",
            preprocessing="exact-1",
            embedding=b"\x00\x38" * 4,
        ),
        label_version=label_version,
        top_k=4,
    )


async def rows(pool: Pool) -> Sequence[Mapping[str, Any]]:
    """What there is."""
    found = [dict(row) for row in await pool.fetch(_ROWS)]
    for row in found:
        shown = json.loads(row["tags"]) if row["tags"] else []
        row["tags"] = {tag["tag"]: score_to_int(tag["score"]) for tag in shown}
    return found


def expected(
    there: Sequence[Mapping[str, Any]], wanted: ImageFilter, names: Mapping[int, str]
) -> list[Expected]:
    """What `wanted` finds among these, in no order."""
    return [_found(row, wanted, names) for row in there if _matches(row, wanted, names)]


def _found(row: Mapping[str, Any], wanted: ImageFilter, names: Mapping[int, str]) -> Expected:
    score = None
    if wanted.ranked is not None:
        score = sum(row["tags"].get(names[label_id], 0) for label_id in wanted.ranked)
    ts = 0
    if row["number"] is not None:
        ts = recency(row["exif_datetime"], row["created_at"], row["now"])
    arrived, taken = (row["arrived_at"], row["image_id"]), (row["taken_at"], row["image_id"])
    by_score = (score or 0, ts, row["number"])
    keys = {Order.ARRIVAL: arrived, Order.TAKEN: taken, Order.SCORE: by_score}
    return Expected(row["image_id"], score, {**keys, Order.TAKEN_ASC: taken})


def taken_at(row: Mapping[str, Any]) -> datetime:
    """When a photo was taken, as far as anybody knows."""
    shot: datetime | None = row["exif_datetime"] and row["exif_datetime"].replace(tzinfo=UTC)
    arrived: datetime = row["arrived_at"]
    return shot if shot and shot <= row["now"] else arrived


def _matches(row: Mapping[str, Any], wanted: ImageFilter, names: Mapping[int, str]) -> bool:
    plain = (
        wanted.owner is None or row["open_to_all"] or wanted.owner in row["owners"],
        wanted.image_ids is None or row["image_id"] in wanted.image_ids,
        wanted.status in {None, row["status"]},
        wanted.reason is None or (row["status"], row["reason"]) == ("failed", wanted.reason),
        wanted.since is None or taken_at(row) >= wanted.since,
        wanted.until is None or taken_at(row) < wanted.until,
        wanted.folder is None or row["path"].startswith(f"{wanted.folder}/"),
        wanted.camera in {None, row["camera"]},
        wanted.excluded in {None, row["excluded"]},
        wanted.hand_tagged in {None, row["hand_tags"] is not None or bool(row["added_tags"])},
        wanted.has_tags in {None, bool(row["tags"])},
        wanted.has_date in {None, row["exif_datetime"] is not None},
        not set(wanted.without) & set(row["tags"]),
    )
    return all(plain) and _has_tags(row, wanted, names)


def _has_tags(row: Mapping[str, Any], wanted: ImageFilter, names: Mapping[int, str]) -> bool:
    tags, asked = row["tags"], bool(wanted.every or wanted.some)
    is_answer = row["status"] == "tagged" and row["excluded"] == bool(wanted.excluded)
    if (asked or wanted.named is not None or wanted.min_score) and not is_answer:
        return False
    if wanted.named is not None:
        least = 0
        if sum(tags.get(names[one], 0) for one in wanted.named) < max(1, wanted.min_score):
            return False
    else:
        least = wanted.min_score
        if least and not asked and max(tags.values(), default=0) < least:
            return False
    strong = {tag for tag, score in tags.items() if score >= least}
    has_every = all(one.name in strong for one in wanted.every)
    return has_every and (not wanted.some or any(one.name in strong for one in wanted.some))


async def label_names(pool: Pool) -> dict[int, str]:
    """Names by id."""
    return {one.id: one.name for one in (await labels.everything(pool)).labels if one.id}


async def asked(pool: Pool, *names: str) -> tuple[filters.AskedTag, ...]:
    return await filters.tag(pool, names)
