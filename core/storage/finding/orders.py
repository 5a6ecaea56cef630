"""The orders of a page, places in them, and the SQL that gives the keys of a page in its order."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from core.storage.finding import filter_sql
from core.storage.finding.filter_sql import Arguments
from core.storage.finding.filters import ImageFilter


class Order(StrEnum):
    """In which order images come; of equal ones the greater id first."""

    ARRIVAL = "arrival"  # the newest arrival first
    TAKEN = "taken"  # the last taken first
    TAKEN_ASC = "taken_asc"  # the first taken first
    SCORE = "score"  # the greatest sum of the confidences asked for, then the newest


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in an order of time."""

    at: datetime
    image_id: UUID


@dataclass(frozen=True, slots=True)
class Match:
    """A place in the order of scores: greater comes first.

    Attributes:
        score: sum of the confidences, in millionths.
        number: the image's id in `tagged_images`.
    """

    score: int
    ts: int
    number: int


PagePlace = Moment | Match
#: Up to so many images of a folder, camera or job are collected for each page: half a second.
MOST_COLLECTED = 200_000


@dataclass(frozen=True, slots=True)
class Read:
    """From where a page is read: `filter_sql.table`, and `filter_sql.narrow`.

    Attributes:
        sizes: of each part, counted up to `MOST_COLLECTED`; none: they are not known.
    """

    tags: str
    first: filter_sql.Labels | None
    sizes: tuple[int, ...] = ()


def by_time(
    wanted: ImageFilter,
    arguments: Arguments,
    read: Read,
    order: Order,
    after: PagePlace | None,
) -> str:
    """Return the keys of a page in an order of time: along an index of each part."""
    column = "arrived_at" if order is Order.ARRIVAL else "taken_at"
    way, beyond = ("ASC", ">") if order is Order.TAKEN_ASC else ("DESC", "<")
    parts = filter_sql.parts(wanted, arguments, tags=read.tags, first=read.first)
    behind = ""
    if isinstance(after, Moment):
        at, image_id = arguments.add(after.at, "timestamptz"), arguments.add(after.image_id, "uuid")
        behind = f" AND ({{times}}.{column}, {{times}}.image_id) {beyond} ({at}, {image_id})"
    branches = []
    for part, size in zip(parts, read.sizes or (MOST_COLLECTED,) * len(parts), strict=True):
        at = f"{part.times}.{column}"
        # What lies in one folder lies at one time, too: along the index of times all others would
        # come first. The sum keeps that index away: what matches is collected and sorted.
        sort = at if size >= MOST_COLLECTED else f"({at} + interval '0')"
        branches.append(
            f"(SELECT i.image_id, {at} AS at, t.id AS number {part.source}"
            f"{behind.format(times=part.times)}"
            f" ORDER BY {sort} {way}, {part.times}.image_id {way} LIMIT {{limit}})"
        )
    return f"{' UNION ALL '.join(branches)} ORDER BY at {way}, image_id {way} LIMIT {{limit}}"


def by_score(wanted: ImageFilter, arguments: Arguments, tags: str, after: PagePlace | None) -> str:
    """Return the keys of a page that is read from the wanted images."""
    parts = filter_sql.parts(wanted.unranked, arguments, tags=tags)
    joined = " UNION ALL ".join(
        f"SELECT i.image_id, t.id AS number {part.source} AND t.id IS NOT NULL" for part in parts
    )
    ranked = _ranked(wanted, arguments)
    return (
        f"SELECT w.image_id, w.number, sum(s.score)::int8 AS score, max(s.ts) AS ts"
        f" FROM ({joined}) AS w JOIN {tags} s ON s.image_id = w.number AND {ranked}"
        f" GROUP BY w.image_id, w.number HAVING {_behind(wanted, arguments, after, 'w.number')}"
        " ORDER BY 3 DESC, 4 DESC, 2 DESC LIMIT {limit}"
    )


def through_scores(
    wanted: ImageFilter, arguments: Arguments, tags: str, after: PagePlace | None
) -> str:
    """Return the keys of a page that is read along the sums: the first that are wanted.

    OFFSET 0 keeps the planner from turning it round: sums in their order, an image for each.
    """
    ranked = _ranked(wanted, arguments)
    behind = _behind(wanted, arguments, after, "s.image_id")
    if len(wanted.ranked or ()) == 1 and tags == "image_tags":  # along its index
        behind = behind.replace("sum(s.score)", "s.score").replace("max(s.ts)", "s.ts")
        sums = (
            f"SELECT s.image_id AS number, s.score, s.ts FROM {tags} s"
            f" WHERE {ranked} AND {behind} ORDER BY s.score DESC, s.ts DESC, s.image_id DESC"
        )
    else:
        sums = (
            f"SELECT s.image_id AS number, sum(s.score)::int8 AS score, max(s.ts) AS ts"
            f" FROM {tags} s WHERE {ranked} GROUP BY s.image_id HAVING {behind}"
            " ORDER BY 2 DESC, 3 DESC, 1 DESC"
        )
    parts = filter_sql.parts(wanted.unranked, arguments, tags=tags)
    images = " UNION ALL ".join(
        f"SELECT i.image_id {part.source} AND t.id = m.number" for part in parts
    )
    return (
        f"SELECT w.image_id, m.number, m.score, m.ts FROM ({sums} OFFSET 0) AS m"
        f" CROSS JOIN LATERAL ({images} OFFSET 0) AS w"
        " ORDER BY m.score DESC, m.ts DESC, m.number DESC LIMIT {limit}"
    )


def _ranked(wanted: ImageFilter, arguments: Arguments) -> str:
    label_ids = wanted.ranked or ()
    if len(label_ids) == 1:
        return f"s.label_id = {arguments.add(label_ids[0], 'int2')}"
    return f"s.label_id = ANY({arguments.add(list(label_ids), 'int2[]')})"


def _behind(wanted: ImageFilter, arguments: Arguments, after: PagePlace | None, number: str) -> str:
    """Return what the sums of a page must be: as a text wants them, and behind a place."""
    found = []
    if wanted.named is not None:  # an image with the sum 0 is no answer
        found.append(f"sum(s.score) >= {arguments.add(max(1, wanted.min_score), 'int8')}")
    if isinstance(after, Match):
        place = ", ".join(
            arguments.add(value, "int8") for value in (after.score, after.ts, after.number)
        )
        found.append(f"(sum(s.score), max(s.ts), {number}) < ({place})")
    return " AND ".join(found) or "true"
