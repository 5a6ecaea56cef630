"""Images whose tags were made with older labels, and the writing of their new ones.

Images with labels of their own (`label_version` NULL) and images of another model are not touched.
Nothing is read but rows and embeddings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage import labels
from core.storage.archive import answer_rows, keeping, statistics
from core.storage.archive.answer_rows import StoredTags
from core.storage.archive.statistics import Counts
from core.storage.deciding.decisions import CHANGES_TAGS, Decided, tags_json
from core.storage.stream import changes
from core.storage.vectors import from_wire
from core.tags import TagScore
from core.transaction import Transaction

# In the order of index tagged_images_stale.
_STALE = """
SELECT t.id, t.image_id, t.sha256, t.preprocessing, t.top_k, t.label_version,
       halfvec_send(e.embedding) AS vector
FROM tagged_images t JOIN embeddings e USING (sha256, model, preprocessing)
WHERE t.model = $1 AND t.label_version < $2 AND (t.label_version, t.id) > ($4, $5)
ORDER BY t.label_version, t.id LIMIT $3
"""
# Of an archive that grew within a minute or two, autovacuum has gathered no statistics yet. Every
# batch would read whole tables then: 346 us of CPU per image in place of 133 (100,000 images). Cut
# by the statement's time limit, it is not tried again: the lease is ours by then.
_IS_UNKNOWN = """
SELECT NOT EXISTS (SELECT FROM pg_stats WHERE tablename = 'image_tags'
                   AND schemaname = ANY(current_schemas(false)))
"""
_ANALYZE = "ANALYZE (SKIP_LOCKED) images, tagged_images, image_tags, embeddings"
_COUNT = """
SELECT count(*) FROM tagged_images WHERE model = $1 AND label_version < $2
"""
# One keeper per model at a time. Another version begins anew; the same goes on where it stood.
_LEASE = f"""
INSERT INTO rescoring AS r (model, version, total, keeper, lease_until)
SELECT $1, $2, ({_COUNT}), $3, now() + make_interval(secs => $4)
ON CONFLICT (model) DO UPDATE SET
    version = $2, keeper = $3, lease_until = excluded.lease_until, updated_at = now(),
    total = CASE WHEN r.version = $2 THEN r.total ELSE excluded.total END,
    rescored = CASE WHEN r.version = $2 THEN r.rescored ELSE 0 END,
    started_at = CASE WHEN r.version = $2 THEN r.started_at ELSE now() END,
    finished_at = NULL
WHERE r.keeper = $3 OR r.lease_until < now()
RETURNING true
"""
_EXTEND = """
UPDATE rescoring SET lease_until = now() + make_interval(secs => $4)
WHERE model = $1 AND version = $2 AND keeper = $3 AND finished_at IS NULL RETURNING true
"""
_STEP = """
UPDATE rescoring SET rescored = rescored + $4, updated_at = now(),
                     lease_until = now() + make_interval(secs => $5)
WHERE model = $1 AND version = $2 AND keeper = $3
"""
# What images were deleted or tagged again meanwhile needed no re-scoring: all of it is done.
_FINISH = """
UPDATE rescoring SET rescored = total, finished_at = coalesce(finished_at, now()),
                     lease_until = '-infinity', updated_at = now()
WHERE model = $1 AND version = $2 AND keeper = $3
"""
_RELEASE = "UPDATE rescoring SET lease_until = '-infinity' WHERE keeper = $1"
_NEEDED = """
SELECT EXISTS (SELECT FROM tagged_images t JOIN embeddings USING (sha256, model, preprocessing)
               WHERE t.model = $1 AND t.label_version < $2)
       OR coalesce((SELECT version < $2 OR finished_at IS NULL FROM rescoring WHERE model = $1),
                   false)
"""
_PROGRESS = """
SELECT model, version, total, rescored, started_at, updated_at, finished_at
FROM rescoring ORDER BY model
"""
_OLDER = """
SELECT count(*) FROM (
    SELECT FROM tagged_images WHERE label_version < $1 LIMIT $2) AS t
"""
# Images of an older version, or that arrived meanwhile with other bytes, are done.
_WRITE = f"""
UPDATE tagged_images t SET
    tags = shown_tags(u.tags::jsonb, i.hand_tags, i.rejected_tags, i.added_tags),
    model_tags = CASE WHEN {CHANGES_TAGS} THEN u.tags::jsonb END,
    label_version = $5, updated_at = now()
FROM unnest($1::int8[], $2::bytea[], $3::text[], $4::text[])
     AS u (id, sha256, preprocessing, tags), images i
WHERE t.id = u.id AND i.image_id = t.image_id AND t.sha256 = u.sha256 AND t.model = $6
  AND t.preprocessing = u.preprocessing AND t.label_version < $5
RETURNING t.id, recency(t.exif_datetime, t.created_at) AS ts, hour_of(t.updated_at) AS hour,
          i.hand_tags IS NULL AND NOT i.excluded AND i.status = 'tagged' AS is_answer,
          i.hand_tags, i.excluded, i.rejected_tags, i.added_tags,
          audiences_of(i.image_id, i.open_to_all) AS audiences
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class StaleImage:
    """An image whose tags are those of older labels.

    Attributes:
        number: id of the row in `tagged_images`.
        embedding: float16 bytes, little endian.
    """

    number: int
    image_id: UUID
    sha256: bytes
    preprocessing: str
    top_k: int
    label_version: int
    embedding: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the images of one model have come with a version of the labels.

    Attributes:
        total: images that had older tags when it began.
        rescored: of these, so many have new ones.
        finished_at: None while it runs.
    """

    model: str
    version: int
    total: int
    rescored: int
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None


async def is_needed(connection: Transaction, model: str, version: int) -> bool:
    """Return whether images are left, or the end is still to be noted."""
    return bool(await connection.fetchval(_NEEDED, model, version))


async def lease(
    connection: Transaction, model: str, version: int, keeper: str, lease_s: float
) -> bool:
    """Take the work on a model's images for a while; False where another one has it."""
    given = (model, version, keeper, lease_s)
    # First the cheap statement: the other one counts all that is left.
    if await connection.fetchval(_EXTEND, *given):
        return True
    if not await connection.fetchval(_LEASE, *given):
        return False
    if await connection.fetchval(_IS_UNKNOWN):
        await connection.execute(_ANALYZE)
    return True


async def release(connection: Transaction, keeper: str) -> None:
    """Release the work."""
    await connection.execute(_RELEASE, keeper)


async def finish(connection: Transaction, model: str, version: int, keeper: str) -> None:
    """Note that no image is left."""
    await connection.execute(_FINISH, model, version, keeper)


async def progress(connection: Transaction) -> list[Progress]:
    """Return each model's newest re-score."""
    return [Progress(**row) for row in await connection.fetch(_PROGRESS)]


async def count_older(connection: Transaction, version: int, *, bound: int = 100_000) -> int:
    """Count images of all models with tags of older labels; exact up to `bound`."""
    return int(await connection.fetchval(_OLDER, version, bound))


async def stale(
    connection: Transaction,
    model: str,
    version: int,
    limit: int,
    *,
    after: StaleImage | None = None,
) -> list[StaleImage]:
    """Return images of this model with tags of older labels than `version`.

    Args:
        after: the last image of the batch before, so that it need not be finished yet.
    """
    place = (-1, 0) if after is None else (after.label_version, after.number)
    rows = await connection.fetch(_STALE, model, version, limit, *place)
    return [
        StaleImage(
            number=row["id"],
            image_id=row["image_id"],
            sha256=row["sha256"],
            preprocessing=row["preprocessing"],
            top_k=row["top_k"],
            label_version=row["label_version"],
            embedding=from_wire(row["vector"]),
        )
        for row in rows
    ]


async def write(
    tx: Transaction,
    images: Sequence[tuple[StaleImage, tuple[TagScore, ...]]],
    *,
    model: str,
    version: int,
    label_ids: Mapping[str, int],
) -> tuple[StoredTags, ...]:
    """Replace tags; return those of images that may be answers, for the best images.

    Needs the images locked (`image_tags.lock`) and the version held (`labels.hold_version`).
    """
    await keeping.keep(tx)
    rows = await tx.fetch(
        _WRITE,
        [image.number for image, _ in images],
        [image.sha256 for image, _ in images],
        [image.preprocessing for image, _ in images],
        [tags_json(tags) for _, tags in images],
        version,
        model,
    )
    written = {row["id"] for row in rows}
    await changes.note(tx, "image", [it.image_id for it, _ in images if it.number in written])
    new = {image.number: tags for image, tags in images}
    stored = await _answers(tx, rows, new, label_ids)
    counts = Counts()
    for row in rows:
        counts.add("hour", row["hour"], 1, audiences=row["audiences"])
    await answer_rows.replace(tx, stored, counts)
    await statistics.append(tx, counts)
    return stored


async def _answers(
    tx: Transaction,
    rows: Sequence[Any],
    new: Mapping[int, tuple[TagScore, ...]],
    label_ids: Mapping[str, int],
) -> tuple[StoredTags, ...]:
    """Return the tags that images show which may be answers: the new ones, as people decided.

    Args:
        rows: what `_WRITE` returned.
        new: the model's tags, by the row's number.
        label_ids: of the model's tags; those that people added are looked up.
    """
    added = {name for row in rows for name in row["added_tags"]}
    ids = {**label_ids, **(await labels.known(tx, added) if added else {})}
    return tuple(
        StoredTags(
            number=row["id"],
            ts=row["ts"],
            existed=True,
            scores=tuple(
                (ids[tag.tag], tag.score) for tag in Decided.of(row).shown(new[row["id"]])
            ),
            audiences=row["audiences"],
        )
        for row in rows
        if row["is_answer"]
    )


async def note(
    connection: Transaction,
    *,
    model: str,
    version: int,
    keeper: str,
    rescored: int,
    lease_s: float,
) -> None:
    """Note progress and keep the work for a while longer."""
    await connection.execute(_STEP, model, version, keeper, rescored, lease_s)
