"""Photos taken one after the other of the same thing, in the order in which they were taken.

A shot belongs to the burst of the one before it where the two are alike at the level `burst`. What
is identical to the shot before, or the same photo, is left out: those are other levels.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.archive.ownership import visible
from core.storage.finding.duplicates import BURST_S, Level, Look, level_of
from core.transaction import Transaction

#: Shots of one look: 10 ms; full pages of text take some seconds.
SHOTS = 2000
# By index `tagged_images_newest`. CASE keeps vectors of other dimensions away from <=>.
_SHOTS = f"""
WITH shots AS MATERIALIZED (
    SELECT t.id, t.image_id, t.sha256, t.model, t.preprocessing, t.exif_datetime AS taken,
           t.perceptual_hash AS hash, t.text_lines AS text
    FROM tagged_images t JOIN images i USING (image_id)
    WHERE t.exif_datetime IS NOT NULL AND i.status NOT IN ('missing', 'deleted')
      AND {visible("$1")}
      AND ($2::timestamp IS NULL
           OR (coalesce(t.exif_datetime, t.created_at AT TIME ZONE 'UTC'), t.id) < ($2, $3))
    ORDER BY coalesce(t.exif_datetime, t.created_at AT TIME ZONE 'UTC') DESC, t.id DESC LIMIT $4
), beside AS (
    SELECT *, lead(sha256) OVER w AS older, lead(taken) OVER w AS older_taken,
           lead(hash) OVER w AS older_hash, lead(text) OVER w AS older_text,
           (lead(model) OVER w, lead(preprocessing) OVER w) = (model, preprocessing)
               AND taken - lead(taken) OVER w <= make_interval(secs => $5) AS is_near
    FROM shots WINDOW w AS (ORDER BY taken DESC, id DESC)
)
SELECT b.id, b.image_id, b.taken, b.hash, b.text, b.older_taken, b.older_hash, b.older_text,
       b.sha256 = b.older AS is_identical,
       CASE WHEN is_near THEN least(1 - (e.embedding <=> f.embedding), 1) END AS cosine
FROM beside b
LEFT JOIN embeddings e ON is_near
     AND (e.sha256, e.model, e.preprocessing) = (b.sha256, b.model, b.preprocessing)
LEFT JOIN embeddings f ON is_near
     AND (f.sha256, f.model, f.preprocessing) = (b.older, b.model, b.preprocessing)
ORDER BY b.taken DESC, b.id DESC
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Burst:
    """Shots of a burst, the oldest first.

    Attributes:
        cosine: the least of two that follow each other.
    """

    image_ids: tuple[UUID, ...]
    cosine: float


@dataclass(frozen=True, slots=True)
class BurstPage:
    """Some bursts; `next`: (taken, row) behind which the next page begins, None on the last."""

    bursts: Sequence[Burst]
    next: tuple[datetime, int] | None


async def page(
    connection: Transaction,
    *,
    owner: str | None,
    before: tuple[datetime, int] | None,
    limit: int,
) -> BurstPage:
    """Return at most `limit` bursts, the newest first; fewer may come before the last page.

    Args:
        owner: only what this owner may see; None: all.
        before: `next` of the page before.
    """
    at, row_id = before or (None, None)
    rows = await connection.fetch(_SHOTS, owner, at, row_id, SHOTS, float(BURST_S))
    # Two thousand pages of text are compared line by line: on the event loop all would wait.
    return await asyncio.to_thread(_page, rows, limit)


def _page(rows: Sequence[Any], limit: int) -> BurstPage:
    bursts: list[Burst] = []
    runs = list(_runs(rows))
    is_last = len(rows) < SHOTS
    if not is_last and len(runs) > 1:
        runs.pop()  # it may go on behind what was looked at: the next page begins with it
    for run in runs:
        if burst := _burst(run):
            bursts.append(burst)
        if len(bursts) == limit and run is not runs[-1]:
            return BurstPage(bursts, _place(run))
    return BurstPage(bursts, None if is_last or not runs else _place(runs[-1]))


def _runs(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield shots that each are alike to the next, the newest first."""
    run: list[Any] = []
    for row in rows:
        run.append(row)
        if _level(row) is None:
            yield run
            run = []
    if run:
        yield run


def _burst(run: Sequence[Any]) -> Burst | None:
    """Return the burst in a run; None where it is other levels' alone."""
    links = [row for row in run[:-1] if _level(row) == "burst"]
    if not links:
        return None
    shots = [row["image_id"] for row in (*links, run[-1])]
    return Burst(tuple(reversed(shots)), round(min(row["cosine"] for row in links), 6))


def _level(row: Any) -> Level | None:
    """Return how a shot is alike to the one before it."""
    if row["is_identical"]:
        return "identical"
    if row["cosine"] is None:
        return None
    return level_of(
        Look(row["hash"], row["taken"], row["text"]),
        Look(row["older_hash"], row["older_taken"], row["older_text"]),
        is_identical=False,
        cosine=row["cosine"],
    )


def _place(run: Sequence[Any]) -> tuple[datetime, int]:
    return run[-1]["taken"], run[-1]["id"]
