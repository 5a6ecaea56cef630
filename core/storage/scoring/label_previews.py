"""Previews of other labels: asked for by the HTTP face, made by a tagging process under a lease."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.deciding.decisions import UNDECIDED, Decided, read_tags
from core.storage.vectors import from_wire
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
# shown tags a re-score would replace.
_SAMPLE = """
WITH drawn AS MATERIALIZED (
    SELECT image_id, tags, sha256, model, preprocessing, top_k, label_version
    FROM tagged_images ORDER BY image_id LIMIT $1
)
SELECT d.image_id, i.path, d.tags, d.top_k, halfvec_send(e.embedding) AS vector,
       i.hand_tags, i.excluded, i.rejected_tags, i.added_tags
FROM drawn d JOIN images i USING (image_id)
JOIN embeddings e ON (e.sha256, e.model, e.preprocessing) = (d.sha256, d.model, d.preprocessing)
WHERE d.model = $2 AND d.label_version IS NOT NULL AND i.hand_tags IS NULL
  AND i.status NOT IN ('missing', 'deleted')
ORDER BY d.image_id
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
class SampledImage:
    """An image with its present tags.

    Attributes:
        decided: what people decided about single tags of it.
        embedding: float16 bytes, little endian.
    """

    image_id: UUID
    path: str
    tags: tuple[TagScore, ...]
    top_k: int
    embedding: bytes
    decided: Decided = UNDECIDED


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


async def sample(connection: Transaction, model: str, images: int) -> list[SampledImage]:
    """Draw images from the whole archive; give those that a re-score by this model would change."""
    rows = await connection.fetch(_SAMPLE, images, model)
    return await asyncio.to_thread(_read, rows)  # half a second of JSON for 20,000 of them


def _read(rows: Sequence[Any]) -> list[SampledImage]:
    return [
        SampledImage(
            image_id=row["image_id"],
            path=row["path"],
            tags=read_tags(row["tags"]) or (),
            top_k=row["top_k"],
            embedding=from_wire(row["vector"]),
            decided=Decided.of(row),
        )
        for row in rows
    ]
