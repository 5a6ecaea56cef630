"""Images page by page, in several orders, and how many there are.

Every page continues behind a key, not behind a count: new images shift nothing, and page 1,000
costs as much as page 1. A key is always that of an image that was shown: it tells of no other one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from core.storage.archive import statistics
from core.storage.archive.images import STATUS_COLUMNS, ImageStatus, status_of
from core.storage.best import noted, ranking
from core.storage.finding import filter_sql, orders
from core.storage.finding.filter_sql import Also, Arguments
from core.storage.finding.filters import STATUSES, ImageFilter
from core.storage.finding.orders import Match, Moment, Order, PagePlace, Read
from core.transaction import Transaction

#: Counts go up to here; what is kept anyway is told whole.
MOST_COUNTED = 10_000
#: Up to so many images the tags of each are summed up; of more, the best sums are looked through
#: until a page of them is full. At a tenth of two million that is every tenth sum.
FEW_IMAGES = 50_000


@dataclass(frozen=True, slots=True)
class PagedImage:
    """An image of a page.

    Attributes:
        scores: confidence of each label asked for, in millionths; None where none were.
        place: where it stands.
    """

    image: ImageStatus
    place: PagePlace
    scores: Mapping[int, int] | None = None

    @property
    def score(self) -> int | None:
        """The sum, in millionths."""
        return None if self.scores is None else sum(self.scores.values())


@dataclass(frozen=True, slots=True)
class Count:
    """How many images there are; at least so many where it is not exact."""

    images: int
    is_exact: bool


async def page(
    connection: Transaction,
    wanted: ImageFilter,
    order: Order,
    limit: int,
    after: PagePlace | None = None,
) -> list[PagedImage]:
    """Return at most `limit` images.

    Args:
        after: the place of the last image of the page before, of the same order.

    Raises:
        ValueError: `Order.SCORE` of what names no tag, or a place of another order.
    """
    if after is not None and isinstance(after, Match) != (order is Order.SCORE):
        raise ValueError("a place of another order")
    if order is Order.SCORE and wanted.ranked is None:
        raise ValueError("the order of scores needs tags")
    if order is Order.SCORE and not wanted.ranked:
        return []
    arguments = Arguments()
    statement = await _statement(connection, wanted, order, arguments, after)
    rows = await connection.fetch(statement, *arguments.values, limit)
    return [_found(dict(row), order) for row in rows]


async def plan(
    connection: Transaction,
    wanted: ImageFilter,
    order: Order,
    limit: int,
    after: PagePlace | None = None,
) -> str:
    """Return how PostgreSQL reads a page, for tests and benchmarks."""
    arguments = Arguments()
    statement = await _statement(connection, wanted, order, arguments, after)
    rows = await connection.fetch(
        f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", *arguments.values, limit
    )
    return "\n".join(row[0] for row in rows)


async def _statement(
    connection: Transaction,
    wanted: ImageFilter,
    order: Order,
    arguments: Arguments,
    after: PagePlace | None,
) -> str:
    """Return the statement of a page; its last parameter, which comes on top, is the limit."""
    tags = await filter_sql.table(connection, wanted)
    if order is not Order.SCORE:
        first = await filter_sql.narrow(connection, wanted, tags)
        read = Read(tags, first, await _sizes(connection, wanted, tags, first))
        keys = orders.by_time(wanted, arguments, read, order, after)
    elif await _are_few(connection, wanted):
        keys = orders.by_score(wanted, arguments, tags, after)
    else:
        keys = orders.through_scores(wanted, arguments, tags, after)
    return _shown(keys, wanted, arguments, tags)


async def count(
    connection: Transaction,
    wanted: ImageFilter,
    *,
    most: int = MOST_COUNTED,
    also: Also | None = None,
) -> Count:
    """Return how many images there are, counted up to `most`.

    Args:
        also: a further restriction.
    """
    kept = None if also else await _kept_count(connection, wanted)
    if kept is not None:
        return Count(kept, is_exact=True)
    tags, arguments = await filter_sql.table(connection, wanted), Arguments()
    first = await filter_sql.narrow(connection, wanted, tags)
    parts = filter_sql.parts(wanted, arguments, tags=tags, also=also, first=first)
    images = " UNION ALL ".join(f"SELECT 1 {part.source}" for part in parts)
    bound = arguments.add(most + 1, "int8")
    number: int = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT 1 FROM ({images}) AS i LIMIT {bound}) AS n",
        *arguments.values,
    )
    return Count(min(number, most), is_exact=number <= most)


async def ids(
    connection: Transaction,
    wanted: ImageFilter,
    limit: int,
    after: UUID | None = None,
    *,
    also: Also | None = None,
) -> list[UUID]:
    """Return images in the order of their ids, from behind `after` on.

    Args:
        also: a further restriction.
    """
    tags, arguments = await filter_sql.table(connection, wanted), Arguments()
    first = await filter_sql.narrow(connection, wanted, tags)
    parts = filter_sql.parts(wanted, arguments, tags=tags, also=also, first=first)
    behind = f" AND i.image_id > {arguments.add(after, 'uuid')}" if after else ""
    bound = arguments.add(limit, "int8")
    branches = " UNION ALL ".join(
        f"(SELECT i.image_id {part.source}{behind} ORDER BY i.image_id LIMIT {bound})"
        for part in parts
    )
    rows = await connection.fetch(
        f"{branches} ORDER BY 1 LIMIT {bound}",
        *arguments.values,
    )
    return [row["image_id"] for row in rows]


async def _sizes(
    connection: Transaction, wanted: ImageFilter, tags: str, first: filter_sql.Labels | None
) -> tuple[int, ...]:
    """Return how many images each part has, where an index of its own finds them."""
    if wanted.folder is None and wanted.camera is None and wanted.job_id is None:
        return ()
    arguments = Arguments()
    parts = filter_sql.parts(wanted, arguments, tags=tags, first=first)
    bound = arguments.add(orders.MOST_COLLECTED, "int8")
    counts = ", ".join(
        f"(SELECT count(*) FROM (SELECT 1 {part.source} LIMIT {bound}) AS n)" for part in parts
    )
    row = await connection.fetchrow(f"SELECT {counts}", *arguments.values)
    return tuple(row or ())


async def _are_few(connection: Transaction, wanted: ImageFilter) -> bool:
    """Tell whether the images, without the labels that rank them, are few enough to sum up all."""
    plain = replace(wanted, named=None, every=(), some=(), min_score=0)
    if plain == ImageFilter(owner=wanted.owner) and wanted.owner is None:
        return False
    return (await count(connection, plain, most=FEW_IMAGES)).images < FEW_IMAGES


def _shown(keys: str, wanted: ImageFilter, arguments: Arguments, tags: str) -> str:
    """Return the statement of a page: one snapshot, so that sums and their terms agree."""
    terms = "NULL::int2[] AS labels, NULL::int4[] AS scores"
    if wanted.ranked is not None:
        label_ids = arguments.add(list(wanted.ranked), "int2[]")
        terms = ranking.terms("k.number", label_ids, tags)
    return (
        f"WITH k AS MATERIALIZED (SELECT *, row_number() OVER () AS nth FROM ({keys}) AS k)"
        f" SELECT k.*, {terms}, {STATUS_COLUMNS}"
        " FROM k JOIN images i ON i.image_id = k.image_id"
        " LEFT JOIN tagged_images t ON t.image_id = i.image_id ORDER BY k.nth"
    ).replace("{limit}", f"${len(arguments.values) + 1}::int8")


def _found(row: dict[str, Any], order: Order) -> PagedImage:
    labels, scores = row.pop("labels"), row.pop("scores")
    place: PagePlace
    if order is Order.SCORE:
        place = Match(row.pop("score"), row.pop("ts"), row["number"])
    else:
        place = Moment(row.pop("at"), row["image_id"])
    del row["number"], row["nth"]
    terms = None if labels is None else dict(zip(labels, scores, strict=True))
    return PagedImage(status_of(row), place, terms)


async def _kept_count(connection: Transaction, wanted: ImageFilter) -> int | None:
    """Return a count that is kept anyway; None where there is none."""
    plain = ImageFilter(owner=wanted.owner, status=wanted.status)
    if wanted == plain:
        statuses = await statistics.counts(connection, "status", owner=wanted.owner)
        shown = STATUSES if wanted.status is None else (wanted.status,)
        return sum(statuses.get(status, 0) for status in shown)
    if wanted == replace(plain, camera=wanted.camera, status=None):
        return await statistics.count(connection, "camera", str(wanted.camera), owner=wanted.owner)
    only = wanted.every[0].label_id if len(wanted.every) == 1 else None
    if only is not None and wanted == replace(plain, every=wanted.every, status=None):
        if await noted.exist(connection):
            return None
        return await statistics.count(connection, "tag", str(only), owner=wanted.owner)
    return None
