"""Previews of other labels: asked for by the HTTP face, made by a tagging process under a lease."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from core.storage.deciding.decisions import Decided, read_tags
from core.storage.vectors import rows_from_wire
from core.tags import Label, TagScore
from core.transaction import Transaction

_REPLACE = "DELETE FROM label_previews WHERE owner = $1 AND state = 'waiting'"
_ASK = """
INSERT INTO label_previews (preview_id, owner, labels, sample) VALUES ($1, $2, $3::jsonb, $4)
"""
_GET = """
SELECT preview_id, state, outcome, error, created_at, finished_at
FROM label_previews WHERE preview_id = $1
"""
_TAKE = """
UPDATE label_previews
SET attempts = attempts + 1, lease_until = now() + make_interval(secs => $1)
WHERE preview_id = (
    SELECT preview_id FROM label_previews WHERE state = 'waiting' AND lease_until < now()
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING preview_id, labels, sample, attempts
"""
_FINISH = """
UPDATE label_previews SET state = $2, outcome = $3::jsonb, error = $4, finished_at = now()
WHERE preview_id = $1 AND state = 'waiting'
"""
# Image ids are hashes of the URI: their order knows nothing of time, folder or camera, so the first
# ones are a fair sample, read through an index and the same each time. Of these, the images whose
# shown tags a re-score would replace. Each vector by its key: a portion is small beside its table.
_SAMPLE = """
WITH drawn AS MATERIALIZED (
    SELECT image_id, tags, sha256, model, preprocessing, top_k, label_version
    FROM tagged_images WHERE $3::uuid IS NULL OR image_id > $3 ORDER BY image_id LIMIT $1
), fit AS MATERIALIZED (
    SELECT d.*, i.rejected_tags, i.added_tags FROM drawn d JOIN images i USING (image_id)
    WHERE d.model = $2 AND d.label_version IS NOT NULL AND i.hand_tags IS NULL
      AND i.status NOT IN ('missing', 'deleted')
)
SELECT image_id, jsonb_path_query_array(tags, '$[*].tag')::text AS names, top_k,
       NULLIF(rejected_tags, '{}') AS rejected, NULLIF(added_tags, '{}') AS added,
       (SELECT halfvec_send(e.embedding) FROM embeddings e
        WHERE (e.sha256, e.model, e.preprocessing) = (f.sha256, f.model, f.preprocessing)) AS vector
FROM fit f
"""
_LAST = """
SELECT image_id FROM (
    SELECT image_id FROM tagged_images WHERE $2::uuid IS NULL OR image_id > $2
    ORDER BY image_id LIMIT $1) AS drawn
ORDER BY image_id DESC LIMIT 1
"""
_SHOWN = """
SELECT t.image_id, i.path, t.tags FROM tagged_images t JOIN images i USING (image_id)
WHERE t.image_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A preview to be made.

    Attributes:
        attempts: how often it was taken, this time included.
    """

    preview_id: UUID
    labels: tuple[Label, ...]
    sample: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Preview:
    """How far a preview is."""

    preview_id: UUID
    state: str
    outcome: dict[str, Any] | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class SampledImages:
    """Images with their present tags, by ascending id.

    Attributes:
        names: of each image its tags' names, best first, as JSON.
        top_k: how many tags each may have.
        decided: what people decided about single tags, by the image's place, where they did.
        embeddings: float16 bytes, little endian, one image after the other.
    """

    image_ids: Sequence[UUID]
    names: Sequence[str]
    top_k: Sequence[int]
    decided: Mapping[int, Decided]
    embeddings: bytes = field(repr=False)


NOTHING_DRAWN = SampledImages((), (), (), {}, b"")


@dataclass(frozen=True, slots=True)
class ShownTags:
    """What an image of the sample shows."""

    path: str
    tags: tuple[TagScore, ...]


async def ask(
    tx: Transaction, preview_id: UUID, *, owner: str, labels: Sequence[Label], sample: int
) -> None:
    """Ask for a preview, in place of one of the same owner that nobody has made yet."""
    await tx.execute(_REPLACE, owner)
    text = json.dumps([asdict(label) for label in labels], ensure_ascii=False, default=str)
    await tx.execute(_ASK, preview_id, owner, text, sample)


async def get(connection: Transaction, preview_id: UUID) -> Preview | None:
    """Return a preview; None if it is unknown, replaced or pruned."""
    row = await connection.fetchrow(_GET, preview_id)
    if row is None:
        return None
    values = dict(row)
    if values["outcome"] is not None:
        values["outcome"] = json.loads(values["outcome"])
    return Preview(**values)


async def take(connection: Transaction, lease_s: float) -> Asked | None:
    """Take the oldest preview that nobody works on, for a while."""
    row = await connection.fetchrow(_TAKE, lease_s)
    if row is None:
        return None
    labels = tuple(
        Label(
            name=one["name"],
            aliases=tuple(one["aliases"]),
            templates=tuple(one["templates"]),
            threshold=one["threshold"],
            photos=tuple(map(UUID, one["photos"])),
            by_words=one["by_words"],
        )
        for one in json.loads(row["labels"])
    )
    return Asked(row["preview_id"], labels, row["sample"], row["attempts"])


async def finish(connection: Transaction, preview_id: UUID, outcome: dict[str, Any]) -> None:
    """Store the result."""
    text = json.dumps(outcome, ensure_ascii=False)
    await connection.execute(_FINISH, preview_id, "done", text, None)


async def fail(connection: Transaction, preview_id: UUID, error: str) -> None:
    """Store that the preview failed."""
    await connection.execute(_FINISH, preview_id, "failed", None, error)


async def last_of(connection: Transaction, images: int, after: UUID | None) -> UUID | None:
    """Return the last of so many images that come behind `after` in the sample; None: none do."""
    last: UUID | None = await connection.fetchval(_LAST, images, after)
    return last


async def sample(
    connection: Transaction, model: str, images: int, after: UUID | None = None
) -> SampledImages:
    """Draw images from the whole archive; give those that a re-score by this model would change.

    Args:
        images: so many are drawn.
        after: the last image that was drawn before.
    """
    rows = await connection.fetch(_SAMPLE, images, model, after)
    return await asyncio.to_thread(_read, rows)


async def shown(connection: Transaction, image_ids: Sequence[UUID]) -> dict[UUID, ShownTags]:
    """Return what these images show."""
    return {
        row["image_id"]: ShownTags(row["path"], read_tags(row["tags"]) or ())
        for row in await connection.fetch(_SHOWN, list(image_ids))
    }


def _read(rows: Sequence[Any]) -> SampledImages:
    found = sorted((row for row in rows if row["vector"] is not None), key=itemgetter("image_id"))
    return SampledImages(
        image_ids=[row["image_id"] for row in found],
        names=[row["names"] for row in found],
        top_k=[row["top_k"] for row in found],
        decided={
            at: Decided(rejected=tuple(row["rejected"] or ()), added=tuple(row["added"] or ()))
            for at, row in enumerate(found)
            if row["rejected"] is not None or row["added"] is not None
        },
        embeddings=rows_from_wire([row["vector"] for row in found]),
    )
