"""Archives of any size, generated in PostgreSQL without photos."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import numpy as np

from consumers.upkeep.repair import BestImagesRepair
from core.storage.pool import Pool

SEED = 20260501
CHUNK = 50_000
LONG_S = 7200  # 50 million rows on a busy machine
NEWEST = int((datetime(2026, 5, 1, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds())
FIVE_YEARS_S = 5 * 365 * 86400


_INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i WHERE i.indrelid IN ('images'::regclass, 'tagged_images'::regclass,
                                     'image_tags'::regclass)
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """The number of labels, and the number of tags per image."""

    labels: int
    per_image: int

    def __str__(self) -> str:
        return f"{self.labels}/{self.per_image}"


def make_scores(
    kind: Kind, images: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return label ids and scores in millionths, (images, per image): a softmax, labels by Zipf."""
    bias = -np.log(np.arange(1, kind.labels + 1)) * 0.8
    logits = bias + chance.normal(0, 2.5, (images, kind.labels)).astype(np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    best = np.argpartition(-shares, kind.per_image - 1, axis=1)[:, : kind.per_image]
    scores = np.rint(np.take_along_axis(shares, best, axis=1) * 1e6).astype(np.int64)
    return best + 1, scores


async def load(admin_url: str, kind: Kind, images: int) -> float:
    """Fill an empty schema, triggers off since all rows are right; return the seconds it took."""
    began = time.monotonic()
    connection = await asyncpg.connect(admin_url, timeout=60)
    try:
        await connection.execute(
            "INSERT INTO labels (id, name, position) "
            "SELECT n, 'label ' || n, n FROM generate_series(1, $1::int) n",
            kind.labels,
        )
        chance = np.random.default_rng(SEED)
        async with bulk_loading(connection):
            for first in range(1, images + 1, CHUNK):
                await _copy(connection, kind, first, min(CHUNK, images + 1 - first), chance)
            await _fill_images(connection)
        for table in ("images", "tagged_images", "image_tags", "labels", "totals"):
            await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=LONG_S)
    finally:
        await connection.close()
    return time.monotonic() - began


@asynccontextmanager
async def bulk_loading(connection: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Switch triggers off, and make the indexes of the images' tables when the block is left."""
    await connection.execute(
        "SET session_replication_role = replica; SET work_mem = '256MB'; "
        "SET maintenance_work_mem = '512MB'"
    )
    indexes = await connection.fetch(_INDEXES)
    for index in indexes:  # at the end: ten times as fast as keeping them up to date
        await connection.execute(f"DROP INDEX {index['name']}")
    yield
    for index in indexes:
        await connection.execute(index["definition"], timeout=LONG_S)


async def _copy(
    connection: "asyncpg.Connection[asyncpg.Record]",
    kind: Kind,
    first: int,
    count: int,
    chance: np.random.Generator,
) -> None:
    labels, scores = make_scores(kind, count, chance)
    times = NEWEST - chance.integers(0, FIVE_YEARS_S // 60, count) * 60  # so that some are equal
    await connection.copy_records_to_table(
        "image_tags",
        columns=["image_id", "score", "ts", "label_id"],
        records=zip(
            np.repeat(np.arange(first, first + count), kind.per_image).tolist(),
            scores.ravel().tolist(),
            np.repeat(times, kind.per_image).tolist(),
            labels.ravel().tolist(),
            strict=True,
        ),
    )


async def _fill_images(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Insert the rows that `image_tags` refers to."""
    await connection.execute(
        """
        CREATE TEMP TABLE made AS
        SELECT image_id AS id, md5(image_id::text)::uuid AS uuid, max(ts) AS ts,
               jsonb_agg(jsonb_build_object('tag', l.name, 'score', score / 1e6)
                         ORDER BY score DESC) AS tags
        FROM image_tags JOIN labels l ON l.id = label_id GROUP BY image_id ORDER BY image_id;
        INSERT INTO images (image_id, uri, path, status, arrived_at, taken_at)
        SELECT uuid, 'file:photos/' || id || '.jpg', 'photos/' || id || '.jpg', 'tagged',
               timestamptz '2026-01-01 00:00+00' + id * interval '1 second',
               timestamptz '2000-01-01 00:00+00' + ts * interval '1 second' FROM made;
        INSERT INTO tagged_images (id, image_path, tags, exif_datetime, image_id, sha256, width,
                                   height, model, preprocessing, label_version, top_k)
        SELECT id, 'photos/' || id || '.jpg', tags,
               timestamp '2000-01-01' + ts * interval '1 second', uuid,
               decode(md5(id::text), 'hex'), 4, 3, 'bench', 'exact-1', 1, 4 FROM made;
        SELECT setval('tagged_images_id_seq', (SELECT max(id) FROM made));
        INSERT INTO totals (kind, key, images, amount)
        SELECT 'tag', label_id::text, count(*), sum(score) FROM image_tags GROUP BY label_id;
        INSERT INTO totals (kind, key, images)
        SELECT 'day', day_of(taken_at), count(*) FROM images GROUP BY 2;
        INSERT INTO totals (kind, key, images, amount)
        SELECT 'ratio', month_taken(exif_datetime, created_at), count(*),
               sum(ratio_of(width, height)) FROM tagged_images GROUP BY 2;
        UPDATE combo_state SET ready = false, rebuilt_to = 0;
        """,
        timeout=LONG_S,
    )


async def rebuild(pool: Pool) -> float:
    """Rebuild the table of best images; return the seconds it took."""
    began = time.monotonic()
    repairer = BestImagesRepair(pool, is_softmax=True)
    while await repairer.step():
        pass
    await pool.execute("VACUUM (ANALYZE) combo_best")
    return time.monotonic() - began


def pick_labels(kind: Kind, count: int, chance: random.Random) -> list[int]:
    """Return the labels of a query, drawn so that common ones come more often."""
    weights = [1 / n for n in range(1, kind.labels + 1)]
    found: set[int] = set()
    while len(found) < count:
        found.update(chance.choices(range(1, kind.labels + 1), weights))
    return sorted(found)
