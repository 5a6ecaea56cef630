"""Photos that teach labels, and what models have learnt from them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.storage.archive.ownership import visible
from core.storage.vectors import from_wire, vector_text
from core.tags import Label, Lesson
from core.transaction import Transaction
from schemas.labels import MAX_PHOTOS, MIN_PHOTOS
from schemas.names import fold

# A file that moved is another image since, which has its photo now.
_NOW = """
JOIN images i ON i.image_id = coalesce((
    SELECT n.image_id FROM images o JOIN images n ON n.image_id = o.moved_to
    WHERE o.image_id = u.photo AND o.status = 'missing' AND n.status <> 'deleted'), u.photo)
    AND i.status <> 'deleted'
JOIN tagged_images t ON t.image_id = i.image_id
"""
_EXAMPLES = f"""
SELECT u.photo, t.model = $2 AS is_ours, i.status = 'tagged' AS is_there,
       halfvec_send(e.embedding) AS vector
FROM unnest($1::uuid[]) AS u (photo) {_NOW}
LEFT JOIN embeddings e ON (e.sha256, e.model, e.preprocessing)
                        = (t.sha256, $2, t.preprocessing) AND t.model = $2
"""  # noqa: S608 - constants only
# Image ids are hashes of the URI: the first ones are a fair sample, and the same each time.
_GROUND = """
SELECT halfvec_send(e.embedding) AS vector
FROM (SELECT sha256, model, preprocessing FROM tagged_images ORDER BY image_id LIMIT $2) t
JOIN embeddings e USING (sha256, model, preprocessing) WHERE t.model = $1
"""
_LEARNT = """
SELECT l.name, m.version, m.photos, m.awaited, m.gain, m.lift,
       halfvec_send(m.embedding) AS vector
FROM label_means m JOIN labels l ON l.id = m.label_id WHERE m.model = $1 AND m.version = $2
"""
_KEEP = """
INSERT INTO label_means (label_id, model, version, photos, awaited, embedding, gain, lift)
SELECT l.id, $1, $2, u.photos, u.awaited, u.embedding::halfvec, u.gain, u.lift
FROM unnest($3::text[], $4::int4[], $5::int4[], $6::text[], $7::float8[], $8::float8[])
     AS u (name, photos, awaited, embedding, gain, lift)
JOIN labels l ON l.name = u.name
ON CONFLICT (label_id, model) DO UPDATE SET
    version = excluded.version, photos = excluded.photos, awaited = excluded.awaited,
    embedding = excluded.embedding, gain = excluded.gain, lift = excluded.lift, computed_at = now()
"""
_FORGET = """
DELETE FROM label_means m USING labels l
WHERE l.id = m.label_id AND m.model = $1 AND m.version < $2
  AND (l.position IS NULL OR l.photos = '{}')
"""
_AWAITING = """
SELECT l.photos FROM label_means m JOIN labels l ON l.id = m.label_id
WHERE m.model = $1 AND m.version = $2 AND m.awaited > 0
"""
# While one model replaces another, the one that has learnt last.
_STATES = """
SELECT DISTINCT ON (l.name) l.name, m.photos, m.embedding IS NOT NULL AS is_known
FROM label_means m JOIN labels l ON l.id = m.label_id
WHERE m.version = $1 ORDER BY l.name, m.computed_at DESC
"""
_LOOKED_AT = f"""
SELECT u.photo, i.image_id IS NOT NULL AS is_known, t.model, e.sha256 IS NOT NULL AS is_embedded
FROM unnest($1::uuid[]) AS u (photo)
LEFT JOIN images i ON i.image_id = u.photo AND i.status <> 'deleted' AND {visible("$2")}
LEFT JOIN tagged_images t ON t.image_id = i.image_id
LEFT JOIN embeddings e ON (e.sha256, e.model, e.preprocessing)
                        = (t.sha256, t.model, t.preprocessing)
"""  # noqa: S608 - constants only
_VISIBLE = f"""
SELECT image_id FROM images i
WHERE image_id = ANY($1::uuid[]) AND status <> 'deleted' AND {visible("$2")}
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Examples:
    """The photos of some labels, as one model sees them.

    Attributes:
        embeddings: float16 bytes, little endian, by image id.
        awaited: those that the model has still to tag.
    """

    embeddings: Mapping[UUID, bytes]
    awaited: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a model knows of a label from its photos.

    Attributes:
        photos: so many say it.
        is_known: it goes by them; False: the label waits, or its words alone count.
    """

    photos: int
    is_known: bool


@dataclass(frozen=True, slots=True)
class UnfitPhotos:
    """Why a label's photos cannot teach it.

    Attributes:
        label: its place among the labels.
        photo: the place of the photo among its photos; None: it is about all of them.
    """

    label: int
    photo: int | None
    why: str


async def examples(connection: Transaction, model: str, photos: Collection[UUID]) -> Examples:
    """Return these photos as a model sees them; those that are gone are left out.

    A photo that another model tagged is awaited while it is there to be tagged again.
    """
    rows = await connection.fetch(_EXAMPLES, sorted(photos), model)
    return Examples(
        {row["photo"]: from_wire(row["vector"]) for row in rows if row["vector"] is not None},
        frozenset(row["photo"] for row in rows if not row["is_ours"] and row["is_there"]),
    )


async def ground(connection: Transaction, model: str, images: int) -> list[bytes]:
    """Return embeddings of a fair sample of the archive."""
    return [from_wire(row["vector"]) for row in await connection.fetch(_GROUND, model, images)]


async def learnt(connection: Transaction, model: str, version: int) -> dict[str, Lesson]:
    """Return what a model has learnt for a version of the labels, by the labels' names."""
    return {
        row["name"]: Lesson(
            photos=row["photos"],
            awaited=row["awaited"],
            direction=None if row["vector"] is None else from_wire(row["vector"]),
            gain=row["gain"],
            lift=row["lift"],
        )
        for row in await connection.fetch(_LEARNT, model, version)
    }


async def keep(tx: Transaction, model: str, version: int, lessons: Mapping[str, Lesson]) -> None:
    """Keep what a model has learnt for this version, in place of what it had."""
    given = lessons.values()
    await tx.execute(
        _KEEP,
        model,
        version,
        list(lessons),
        [lesson.photos for lesson in given],
        [lesson.awaited for lesson in given],
        [None if one.direction is None else vector_text(one.direction) for one in given],
        [lesson.gain for lesson in given],
        [lesson.lift for lesson in given],
    )
    await tx.execute(_FORGET, model, version)


async def awaiting(connection: Transaction, model: str, version: int) -> list[list[UUID]]:
    """Return the photos of each label that waits until this model has tagged others."""
    return [row["photos"] for row in await connection.fetch(_AWAITING, model, version)]


async def states(connection: Transaction, version: int) -> dict[str, Learnt]:
    """Return how far the model has come with the labels that photos teach, by name."""
    rows = await connection.fetch(_STATES, version)
    return {row["name"]: Learnt(row["photos"], row["is_known"]) for row in rows}


async def shown_to(
    connection: Transaction, photos: Collection[UUID], owner: str | None
) -> frozenset[UUID]:
    """Return those of these photos that an owner may see; None: an administrator."""
    rows = await connection.fetch(_VISIBLE, list(photos), owner)
    return frozenset(row["image_id"] for row in rows)


async def unfit(
    connection: Transaction, labels: Sequence[Label], before: Sequence[Label], owner: str | None
) -> UnfitPhotos | None:
    """Return what is wrong with photos that are to teach labels; None: nothing.

    What stands already may stay, whatever became of its photos since.

    Args:
        before: the labels in force, in a transaction that holds their version.
        owner: who teaches; None: an administrator, who sees all photos.
    """
    known = {fold(label.name): label for label in before}
    for at, label in enumerate(labels):
        old = known.get(fold(label.name))
        had = old.photos if old else ()
        is_empty = not label.photos and not label.by_words
        if is_empty and (old is None or old.by_words or had):
            return UnfitPhotos(at, None, f"label {label.name!r} has neither photos nor words")
        if not label.photos or set(label.photos) == set(had):
            continue
        if (why := _wrong_number(label)) is not None:
            return UnfitPhotos(at, None, why)
        if (found := await _unfit(connection, label, had, owner)) is not None:
            place, why = found
            return UnfitPhotos(at, place, f"label {label.name!r}: {why}")
    return None


def _wrong_number(label: Label) -> str | None:
    count = len(label.photos)
    if MIN_PHOTOS <= count <= MAX_PHOTOS:
        return None
    limits = f"{MIN_PHOTOS} to {MAX_PHOTOS}"
    return f"label {label.name!r}: {count} photos: {limits} teach a label"


async def _unfit(
    connection: Transaction, label: Label, had: Sequence[UUID], owner: str | None
) -> tuple[int | None, str] | None:
    new = [photo for photo in label.photos if photo not in had]
    rows = {row["photo"]: row for row in await connection.fetch(_LOOKED_AT, new, owner)}
    for at, photo in enumerate(label.photos):
        row = rows.get(photo)
        if row is None:
            continue
        if not row["is_known"]:
            return at, f"no image {photo}"
        if not row["is_embedded"]:
            return at, f"image {photo} has no embedding: it is not tagged yet"
    models = sorted({row["model"] for row in rows.values()})
    if len(models) > 1:
        return None, f"photos tagged by unlike models, {', '.join(models)}: tag them again first"
    return None
