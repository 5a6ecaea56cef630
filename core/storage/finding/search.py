"""Find images by labels, the best match first, or by the date taken, the newest first.

Every page is read through an index and continues after a key, not after a count: new images shift
nothing, and page 1,000 costs as much as page 1. The exception is a search for several labels, which
sums up all entries of these labels for each page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.archive.images import STATUS_COLUMNS, ImageStatus, status_of
from core.storage.archive.ownership import visible
from core.storage.best import noted
from core.transaction import Transaction

INT4_MIN, INT4_MAX = -(2**31), 2**31 - 1
_FIRST = 2**62  # before every key

# Along the label's list, best first.
_ONE_LABEL = """
SELECT image_id, score, ts FROM {tags}
WHERE label_id = $1 AND (score, ts, image_id) < ($2::int8, $3::int8, $4::int8)
  AND ts >= $5 AND ts <= $6
ORDER BY score DESC, ts DESC, image_id DESC LIMIT $7
"""
_LABELS = """
SELECT image_id, sum(score) AS score, max(ts) AS ts FROM {tags}
WHERE label_id = ANY($1::int2[]) AND ts >= $5 AND ts <= $6
GROUP BY image_id
HAVING sum(score) > 0 AND (sum(score), max(ts)::int8, image_id::int8)
                          < ($2::int8, $3::int8, $4::int8)
ORDER BY 2 DESC, 3 DESC, 1 DESC LIMIT $7
"""
_LABELS_WITH = """
SELECT m.image_id, sum(m.score) AS score, max(m.ts) AS ts
FROM {tags} m JOIN {tags} r ON r.image_id = m.image_id AND r.label_id = $8
WHERE m.label_id = ANY($1::int2[]) AND m.ts >= $5 AND m.ts <= $6
GROUP BY m.image_id
HAVING sum(m.score) > 0 AND (sum(m.score), max(m.ts)::int8, m.image_id::int8)
                            < ($2::int8, $3::int8, $4::int8)
ORDER BY 2 DESC, 3 DESC, 1 DESC LIMIT $7
"""
# The expression is that of index tagged_images_newest.
_DATES = """
SELECT id AS image_id, coalesce(exif_datetime, created_at AT TIME ZONE 'UTC') AS taken
FROM tagged_images
WHERE coalesce(exif_datetime, created_at AT TIME ZONE 'UTC') >= $1
  AND coalesce(exif_datetime, created_at AT TIME ZONE 'UTC') < $2
  AND (coalesce(exif_datetime, created_at AT TIME ZONE 'UTC'), id) < ($3, $4::int8)
ORDER BY coalesce(exif_datetime, created_at AT TIME ZONE 'UTC') DESC, id DESC LIMIT $5
"""
_SHOWN = f"""
SELECT t.id AS number, {STATUS_COLUMNS}
FROM tagged_images t JOIN images i USING (image_id)
WHERE t.id = ANY($1::int8[]) AND i.status <> 'deleted'
  AND {visible("$2")}
  AND ($3::uuid IS NULL OR i.job_id = $3)
  AND ($4::text IS NULL OR i.status = $4)
"""  # noqa: S608 - constants only
_LABEL_ID = "SELECT id FROM labels WHERE name = $1"


@dataclass(frozen=True, slots=True)
class Visible:
    """Which of the found images are shown; None: all.

    Attributes:
        owner: only what this owner may see.
    """

    owner: str | None = None
    job_id: UUID | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A place in the order of matches: greater comes first.

    Attributes:
        score: sum of the matched confidences, in millionths.
        number: the image's id in `tagged_images`.
    """

    score: int
    ts: int
    number: int


@dataclass(frozen=True, slots=True)
class Dated:
    """A place in the order of dates, as the EXIF time is kept: without zone, UTC where added."""

    taken: datetime
    number: int


@dataclass(frozen=True, slots=True)
class Sought:
    """Which images match.

    Attributes:
        label_ids: with at least one of these; the sum of their confidences ranks.
        required_id: and with this label.
        ts_from: and as new as this (`core.relevance.ranking.recency`); `ts_to`: at most.
    """

    label_ids: tuple[int, ...]
    required_id: int | None = None
    ts_from: int = INT4_MIN
    ts_to: int = INT4_MAX


async def label_id(connection: Transaction, name: str) -> int | None:
    """Return a label's id; None where no image can carry it."""
    found = await connection.fetchval(_LABEL_ID, name)
    return None if found is None else int(found)


async def matches(
    connection: Transaction, sought: Sought, after: Match | None, limit: int
) -> list[Match]:
    """Return the next matches, the best first: by sum, then newest, then greatest id."""
    place = (_FIRST,) * 3 if after is None else (after.score, after.ts, after.number)
    ids, tags = set(sought.label_ids), await noted.table(connection)
    if len(ids) == 1 and sought.required_id in {None, *ids}:
        rows = await connection.fetch(
            _ONE_LABEL.format(tags=tags), *ids, *place, sought.ts_from, sought.ts_to, limit
        )
    else:
        arguments = (sorted(ids), *place, sought.ts_from, sought.ts_to, limit)
        if sought.required_id is None:
            rows = await connection.fetch(_LABELS.format(tags=tags), *arguments)
        else:
            rows = await connection.fetch(
                _LABELS_WITH.format(tags=tags), *arguments, sought.required_id
            )
    return [Match(int(row["score"]), row["ts"], row["image_id"]) for row in rows]


async def taken_between(
    connection: Transaction, since: datetime, until: datetime, after: Dated | None, limit: int
) -> list[Dated]:
    """Return the next images taken from `since` to before `until` (no zone), the newest first."""
    place = (until, _FIRST) if after is None else (after.taken, after.number)
    rows = await connection.fetch(_DATES, since, until, *place, limit)
    return [Dated(row["taken"], row["image_id"]) for row in rows]


async def shown(
    connection: Transaction, numbers: Sequence[int], visible: Visible
) -> dict[int, ImageStatus]:
    """Return those of these images that may be shown, by number."""
    rows = await connection.fetch(
        _SHOWN, list(numbers), visible.owner, visible.job_id, visible.status
    )
    found: dict[int, ImageStatus] = {}
    for row in rows:
        values = dict(row)
        number = values.pop("number")
        found[number] = status_of(values)
    return found


async def plans(connection: Transaction) -> list[tuple[str, str]]:
    """Return PostgreSQL's plan of each search, for tests and benchmarks."""
    place, dates = (_FIRST,) * 3, (INT4_MIN, INT4_MAX)
    newest = await connection.fetchval(
        "SELECT max(coalesce(exif_datetime, created_at AT TIME ZONE 'UTC')) FROM tagged_images"
    )
    oldest = datetime(1970, 1, 1)  # noqa: DTZ001 - as EXIF: without zone
    asked: list[tuple[str, str, tuple[object, ...]]] = [
        ("one label", _ONE_LABEL, (1, *place, *dates, 50)),
        ("one label, page behind a key", _ONE_LABEL, (1, 500_000, 0, 0, *dates, 50)),
        ("several labels", _LABELS, ([1, 2], *place, *dates, 50)),
        ("several labels and a required one", _LABELS_WITH, ([1, 2], *place, *dates, 50, 3)),
        ("dates", _DATES, (oldest, newest, newest, _FIRST, 50)),
        ("the images of a page", _SHOWN, (list(range(1, 51)), None, None, None)),
    ]
    found = []
    for name, query, arguments in asked:
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query.format(tags='image_tags')}",
            *arguments,
        )
        found.append((name, "\n".join(row[0] for row in rows)))
    return found
