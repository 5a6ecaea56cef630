"""Images by month taken: how many there are, and what a page needs to lay them out.

Who looks through everything reads kept counts (`totals`). A month is read in columns that
PostgreSQL puts together, 22 bytes an image: two million images are a few hundred answers.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.storage.archive import statistics
from core.storage.finding import filter_sql
from core.storage.finding.filter_sql import Arguments
from core.storage.finding.filters import ImageFilter
from core.transaction import Transaction

#: Images of one part: 132 kB. The first view needs some thirty of them; a month of 20,946 photos,
#: as one was seen, is four answers, of which a look needs one or two.
PART_IMAGES = 6_000
#: Where no image of a month has been seen.
USUAL_RATIO = 4 / 3

# Bits of an image's status beside its number.
_EXCLUDED, _BY_HAND, _WAITS = 16, 32, 64


@dataclass(frozen=True, slots=True)
class MonthCount:
    """A month and how many images were taken in it.

    Attributes:
        month: `2024-05`.
        mean_ratio: width by height, of those whose size is known.
    """

    month: str
    images: int
    mean_ratio: float

    @property
    def parts(self) -> int:
        """In how many parts its images are read."""
        return parts_of(self.images)


@dataclass(frozen=True, slots=True)
class MonthPart:
    """A part of a month's images, the last taken first, in columns.

    Attributes:
        images: how many are in this part.
        parts: in how many parts the month is read.
        ids: 16 bytes each.
        ratios: unsigned, 2 bytes each, little endian: width by height in thousandths; 0: unknown.
        colours: red, green and blue.
        statuses: a byte each: 0 accepted, 1 tagged, 2 failed, 3 missing; and 16 where it is
            excluded, 32 where people set its tags, 64 where it waits to be tagged apart.
    """

    images: int
    parts: int
    ids: bytes = b""
    ratios: bytes = b""
    colours: bytes = b""
    statuses: bytes = b""


def parts_of(images: int) -> int:
    """Return in how many parts so many images are read."""
    return max(1, -(-images // PART_IMAGES))


async def months(connection: Transaction, wanted: ImageFilter) -> list[MonthCount]:
    """Return the months in which images were taken, the newest first."""
    if wanted == ImageFilter(owner=wanted.owner):
        return await _kept_months(connection, wanted.owner)
    arguments = Arguments()
    statement = await _counted(connection, wanted, arguments)
    rows = await connection.fetch(statement, *arguments.values)
    return [MonthCount(row["month"], row["images"], _ratio(row["ratio"])) for row in rows]


async def month(
    connection: Transaction, wanted: ImageFilter, first: datetime, part: int
) -> MonthPart:
    """Return a part of a month.

    Args:
        first: the month's first moment, UTC.
        part: from 0 on.
    """
    within = _within(wanted, first)
    arguments = Arguments()
    statement = await _columns(connection, within, arguments, part)
    row = await connection.fetchrow(statement, *arguments.values)
    if row is None or not row["total"]:
        return MonthPart(0, 1)
    columns = [row[name] or b"" for name in ("ids", "ratios", "colours", "statuses")]
    return MonthPart(row["images"], parts_of(row["total"]), *columns)


async def plan(connection: Transaction, wanted: ImageFilter, first: datetime | None) -> str:
    """Return how PostgreSQL reads a month, or counts all of them, for tests and benchmarks."""
    arguments = Arguments()
    if first is None:
        statement = await _counted(connection, wanted, arguments)
    else:
        statement = await _columns(connection, _within(wanted, first), arguments, 0)
    rows = await connection.fetch(
        f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}", *arguments.values
    )
    return "\n".join(row[0] for row in rows)


def _within(wanted: ImageFilter, first: datetime) -> ImageFilter:
    """Return the filter, within a month."""
    following = (
        datetime(first.year + 1, 1, 1, tzinfo=UTC)
        if first.month == 12
        else datetime(first.year, first.month + 1, 1, tzinfo=UTC)
    )
    since = first if wanted.since is None else max(first, wanted.since)
    until = following if wanted.until is None else min(following, wanted.until)
    return replace(wanted, since=since, until=until)


async def _kept_months(connection: Transaction, owner: str | None) -> list[MonthCount]:
    images = await statistics.months(connection, owner=owner)
    ratios = await statistics.means(connection, "ratio", owner=owner)
    return [MonthCount(name, number, _ratio(ratios.get(name))) for name, number in images.items()]


def _ratio(thousandths: float | None) -> float:
    return round(thousandths / 1000 if thousandths else USUAL_RATIO, 3)


async def _counted(connection: Transaction, wanted: ImageFilter, arguments: Arguments) -> str:
    tags = await filter_sql.table(connection, wanted)
    images = " UNION ALL ".join(
        f"SELECT {part.times}.taken_at AS at, i.ratio {part.source}"
        for part in filter_sql.parts(wanted, arguments, tags=tags)
    )
    return f"""
SELECT to_char(month, 'YYYY-MM') AS month, images, ratio FROM (
    SELECT date_trunc('month', at AT TIME ZONE 'UTC') AS month, count(*) AS images,
           avg(nullif(ratio, 0))::float8 AS ratio
    FROM ({images}) AS i GROUP BY 1) AS m
ORDER BY 1 DESC
"""  # noqa: S608 - constants and parameters only


async def _columns(
    connection: Transaction, wanted: ImageFilter, arguments: Arguments, part: int
) -> str:
    """Return the statement of a part: the keys of the whole month, of the part all else."""
    tags = await filter_sql.table(connection, wanted)
    parts = filter_sql.parts(wanted, arguments, tags=tags)
    within = ""
    if wanted.owner is not None:
        # An owner's images too are read by date, along their index, and not one by one.
        since = arguments.add(wanted.since, "timestamptz")
        until = arguments.add(wanted.until, "timestamptz")
        within = f" AND i.taken_at >= {since} AND i.taken_at < {until}"
    keys = " UNION ALL ".join(
        f"SELECT i.image_id, {one.times}.taken_at AS at, i.status, i.excluded, i.by_hand, i.ratio,"
        f" i.colour {one.source}{within if one.times == 'o' else ''}"
        for one in parts
    )
    offset = arguments.add(part * PART_IMAGES, "int8")
    limit = arguments.add(PART_IMAGES, "int8")
    return f"""
WITH keys AS MATERIALIZED ({keys}), shown AS (
    SELECT k.*, row_number() OVER (ORDER BY at DESC, image_id DESC) AS nth,
           CASE status WHEN 'accepted' THEN 0 WHEN 'tagged' THEN 1 WHEN 'failed' THEN 2 ELSE 3 END
           + CASE WHEN excluded THEN {_EXCLUDED} ELSE 0 END
           + CASE WHEN by_hand THEN {_BY_HAND} ELSE 0 END
           + CASE WHEN image_id IN (SELECT p.image_id FROM parked_images p)
                  THEN {_WAITS} ELSE 0 END AS bits
    FROM keys k ORDER BY at DESC, image_id DESC OFFSET {offset} LIMIT {limit}
)
SELECT (SELECT count(*) FROM keys) AS total, count(*) AS images,
       string_agg(uuid_send(image_id), '' ORDER BY nth) AS ids,
       string_agg(substr(int4send(((ratio & 255) << 8) | (ratio >> 8)), 3),
                  '' ORDER BY nth) AS ratios,
       string_agg(substr(int4send(coalesce(colour, 0)), 2), '' ORDER BY nth) AS colours,
       string_agg(substr(int4send(bits), 4), '' ORDER BY nth) AS statuses
FROM shown
"""  # noqa: S608 - constants and parameters only
