"""Galleries of any size, written straight into the database: images without files.

What the page, its timeline and its searches read is there and consistent: images of every status
and their tags, dates over twenty years, shapes, colours, cameras, folders, decisions, counts. What
stays away: embeddings, and thumbnails unless they are asked for. `archives.rebuild` fills the table
of best images.
"""

import hashlib
import io
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import numpy as np
from PIL import Image

from benchmarks.harness import archives
from benchmarks.harness.archives import CHUNK, LONG_S, SEED, Kind
from core.relevance.defaults import DEFAULT_LABELS
from core.storage import labels

#: The largest month that anybody has told of, and when it is here.
LARGEST_MONTH, LARGEST = 20_946, (2019, 7)
_FIRST_YEAR, _YEARS = 2006, 20
_KIND = Kind(len(DEFAULT_LABELS), 4)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: Width, height, and how many of a hundred photos have them.
_SHAPES = np.array(
    (
        (4032, 3024, 38), (3024, 4032, 22), (6000, 4000, 14), (4000, 6000, 6), (1920, 1080, 8),
        (1080, 1920, 4), (1600, 1200, 4), (2048, 2048, 3), (8000, 2400, 1),
    )
)  # fmt: skip
_CAMERAS = ("Canon EOS 5D", "Nikon D90", "Sony ILCE-7M3", "Apple iPhone 12", "Google Pixel 7", None)
#: Of a thousand images.
_SHARES = {"accepted": 1, "failed": 2, "missing": 1}
_EXCLUDED, _BY_HAND, _UNDATED = 2, 2, 20

_MADE = """
CREATE UNLOGGED TABLE made (
    n int8, seconds int4, width int4, height int4, colour int4, camera text, status text,
    excluded boolean, by_hand boolean, is_dated boolean);
CREATE UNLOGGED TABLE made_tags (n int8, label_id int2, score int4);
"""
# Arrived in the order of their numbers, which has nothing to do with when they were taken: so what
# was taken together lies apart, as it does where albums were imported one after the other.
_IMAGES = """
INSERT INTO images (image_id, uri, path, open_to_all, media_type, size_bytes, sha256, status,
                    reason, detail, taken_at, ratio, colour, arrived_at, updated_at, event_time,
                    excluded, hand_tags, decided_by, decided_at)
SELECT md5('image' || n)::uuid, 'file:' || path, path, $1::text IS NULL, 'image/jpeg', 3000000,
       sha256(convert_to('picture' || n % $2::int8, 'UTF8')), status,
       CASE status WHEN 'failed' THEN 'truncated' END, CASE status WHEN 'failed' THEN 'half' END,
       CASE WHEN is_dated THEN taken ELSE arrived END,
       CASE WHEN status IN ('tagged', 'missing') THEN ratio_of(width, height) ELSE 0 END,
       CASE WHEN status IN ('tagged', 'missing') THEN colour END,
       arrived, arrived, arrived, excluded,
       CASE WHEN by_hand THEN '[{"tag": "cat", "score": 1}]'::jsonb END,
       CASE WHEN by_hand OR excluded THEN 'bench' END,
       CASE WHEN by_hand OR excluded THEN arrived END
FROM (SELECT *, to_char(taken, '"photos/"YYYY/MM"/IMG_"') || lpad(n::text, 8, '0') || '.jpg' AS path
      FROM (SELECT *, timestamptz '2000-01-01 00:00+00' + seconds * interval '1 second' AS taken,
                   timestamptz '2026-05-01 00:00+00' + n * interval '1 millisecond' AS arrived
            FROM made) AS m) AS m
ORDER BY n
"""
_OWNERS = """
INSERT INTO image_owners (image_id, owner, arrived_at, taken_at)
SELECT image_id, $1, arrived_at, taken_at FROM images WHERE $1::text IS NOT NULL
"""
_FAILURES = """
INSERT INTO failures (image_id, reason, detail)
SELECT image_id, reason, detail FROM images WHERE status = 'failed'
"""
_TAGGED = """
INSERT INTO tagged_images (id, image_path, tags, model_tags, exif_datetime, created_at, updated_at,
                           image_id, sha256, width, height, model, preprocessing,
                           label_version, top_k, camera, exif_source, perceptual_hash)
SELECT m.n, i.path, coalesce(i.hand_tags, g.tags),
       CASE WHEN i.hand_tags IS NOT NULL THEN g.tags END,
       CASE WHEN m.is_dated THEN i.taken_at AT TIME ZONE 'UTC' END, i.arrived_at, i.arrived_at,
       i.image_id, i.sha256, m.width, m.height, 'bench', 'fast-2', 1, 4, m.camera,
       CASE WHEN m.is_dated THEN 'DateTimeOriginal' END, hashint8(m.n) & 2147483647
FROM made m JOIN images i ON i.image_id = md5('image' || m.n)::uuid
JOIN (SELECT n, jsonb_agg(jsonb_build_object('tag', l.name, 'score', score / 1e6)
                          ORDER BY score DESC) AS tags
      FROM made_tags JOIN labels l ON l.id = label_id GROUP BY n) AS g ON g.n = m.n
WHERE m.status IN ('tagged', 'missing') ORDER BY m.n
"""
_ANSWERS = """
INSERT INTO image_tags (image_id, score, ts, label_id)
SELECT a.image_id, a.score, a.ts, l.id FROM answer_tags a JOIN labels l USING (name)
ORDER BY a.image_id, l.id
"""
_TOTALS = """
INSERT INTO totals (kind, audience, key, images, amount)
SELECT kind, audience, key, count(*), sum(amount)
FROM (SELECT 'status' AS kind, status AS key, 0 AS amount FROM images
      UNION ALL SELECT 'day', day_of(taken_at), 0 FROM images
      UNION ALL SELECT 'ratio', month_taken(exif_datetime, created_at), ratio_of(width, height)
      FROM tagged_images
      UNION ALL SELECT 'camera', camera, 0 FROM tagged_images WHERE camera IS NOT NULL
      UNION ALL SELECT 'tag', label_id::text, score FROM image_tags) AS c,
     unnest($1::text[]) AS audience
GROUP BY 1, 2, 3
"""
_END = """
SELECT setval('tagged_images_id_seq', (SELECT max(n) FROM made));
UPDATE combo_state SET ready = false, rebuilt_to = 0;
DROP TABLE made, made_tags;
"""
_KEEP_THUMB = "INSERT INTO thumbs (sha256, size, content) VALUES ($1, 'small', $2)"
_TABLES = (
    "images", "image_owners", "tagged_images", "image_tags", "labels", "totals", "failures",
    "thumbs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gallery:
    """A gallery to be made.

    Attributes:
        images: how many.
        owner: whose they are; None: they are open to all.
        pictures: of so many contents, each with a thumbnail; 0: each image has a content of its
            own, and none has a thumbnail.
    """

    images: int = 2_000_000
    owner: str | None = None
    pictures: int = 0


async def fill(admin_url: str, gallery: Gallery) -> float:
    """Fill an empty schema, triggers off since all rows are right; return the seconds it took."""
    began = time.monotonic()
    connection = await asyncpg.connect(admin_url, timeout=60)
    try:
        async with connection.transaction():
            await labels.define_if_absent(connection, DEFAULT_LABELS)
        async with archives.bulk_loading(connection):
            await _fill(connection, gallery)
        for table in _TABLES:
            await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=LONG_S)
    finally:
        await connection.close()
    return time.monotonic() - began


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", gallery: Gallery) -> None:
    chance = np.random.default_rng(SEED)
    await connection.execute(_MADE)
    taken = moments(gallery.images, chance)
    for first in range(0, gallery.images, CHUNK):
        await _copy(connection, first, taken[first : first + CHUNK], chance)
    audiences = [""] if gallery.owner is None else ["\tclosed", gallery.owner]
    await connection.execute("ANALYZE made, made_tags")
    contents = gallery.pictures or gallery.images + 1
    await connection.execute(_IMAGES, gallery.owner, contents, timeout=LONG_S)
    await connection.execute("ANALYZE images")
    await connection.execute(_OWNERS, gallery.owner, timeout=LONG_S)
    for statement in (_FAILURES, _TAGGED, _ANSWERS):
        await connection.execute(statement, timeout=LONG_S)
    await connection.execute(_TOTALS, audiences, timeout=LONG_S)
    await connection.execute(_END, timeout=LONG_S)
    await connection.executemany(_KEEP_THUMB, list(map(_thumb, range(gallery.pictures))))


def moments(images: int, chance: np.random.Generator) -> np.ndarray:
    """Return when each image was taken: seconds since 2000, int64, (images,), in no order.

    More in later years and in summer; one month has `LARGEST_MONTH`, or a tenth of all.
    """
    months = [(_FIRST_YEAR + at // 12, 1 + at % 12) for at in range(12 * _YEARS)]
    weights = np.array(
        [1 + (year - _FIRST_YEAR) / 10 + (month in {6, 7, 8}) for year, month in months]
    )
    weights *= chance.uniform(0.5, 1.5, len(months))
    largest, most = months.index(LARGEST), min(LARGEST_MONTH, images // 10)
    weights[largest] = 0
    counts = chance.multinomial(images - most, weights / weights.sum())
    counts[largest] = most
    starts = np.array(
        [_seconds(year, month) for year, month in (*months, (_FIRST_YEAR + _YEARS, 1))]
    )
    which = np.repeat(np.arange(len(months)), counts)
    within = chance.random(images) * (np.diff(starts)[which])
    found: np.ndarray = starts[which] + within.astype(np.int64)
    return chance.permutation(found)


def _seconds(year: int, month: int) -> int:
    return int((datetime(year, month, 1, tzinfo=UTC) - _EPOCH).total_seconds())


async def _copy(
    connection: "asyncpg.Connection[asyncpg.Record]",
    first: int,
    taken: np.ndarray,
    chance: np.random.Generator,
) -> None:
    count = len(taken)
    numbers = np.arange(first + 1, first + 1 + count)
    shapes = _SHAPES[chance.choice(len(_SHAPES), count, p=_SHAPES[:, 2] / _SHAPES[:, 2].sum())]
    usual = 1 - sum(_SHARES.values()) / 1000
    statuses = chance.choice(
        ["tagged", *_SHARES], count, p=[usual, *(share / 1000 for share in _SHARES.values())]
    )
    is_tagged, decided = statuses == "tagged", chance.integers(0, 1000, count)
    await connection.copy_records_to_table(
        "made",
        records=zip(
            numbers.tolist(),
            taken.tolist(),
            shapes[:, 0].tolist(),
            shapes[:, 1].tolist(),
            chance.integers(0x202020, 0xE0E0E0, count).tolist(),
            [_CAMERAS[at] for at in chance.integers(0, len(_CAMERAS), count)],
            statuses.tolist(),
            (is_tagged & (decided < _EXCLUDED)).tolist(),
            (is_tagged & (decided >= 1000 - _BY_HAND)).tolist(),
            (chance.integers(0, 1000, count) >= _UNDATED).tolist(),
            strict=True,
        ),
    )
    found, scores = archives.make_scores(_KIND, count, chance)
    await connection.copy_records_to_table(
        "made_tags",
        records=zip(
            np.repeat(numbers, _KIND.per_image).tolist(),
            found.ravel().tolist(),
            scores.ravel().tolist(),
            strict=True,
        ),
    )


def _thumb(number: int) -> tuple[bytes, bytes]:
    """Return the digest of a picture and a thumbnail of about the size of a photo's."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), np.uint8))
    target = io.BytesIO()
    image = coarse.resize((400, 300), Image.Resampling.BICUBIC)
    noisy = np.asarray(image).astype(np.int16) + chance.integers(-12, 12, (300, 400, 1))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target, "JPEG", quality=72)
    return hashlib.sha256(f"picture{number}".encode()).digest(), target.getvalue()
