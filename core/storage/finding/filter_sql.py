"""The SQL that a filter stands for.

Pages, counts, ids and the timeline are made of the same `parts`, so that they speak of the same
images. An image is seen by the rule of `core.storage.archive.ownership`; a deleted one never is.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from core.storage.best import noted
from core.storage.finding.filters import STATUSES, ImageFilter
from core.transaction import Transaction

#: Up to so many entries of a label its images are read one by one: half a second.
FEW_TAGGED = 50_000
INDEXED_CHARS = 500  # characters that `folder_of` of the schema keeps
Labels = tuple[int, ...]
_COUNT_TAGS = """
SELECT count(*) FROM (
    SELECT FROM image_tags WHERE label_id = ANY($1::int2[]) AND score >= $2::int4 LIMIT $3) AS n
"""


@dataclass(slots=True)
class Arguments:
    """The values of a statement's parameters."""

    values: list[object] = field(default_factory=list)

    def add(self, value: object, kind: str) -> str:
        """Return the SQL of a parameter with this value and type."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


#: Makes a restriction of `images i` and `tagged_images t`.
Also = Callable[[Arguments], str]


@dataclass(frozen=True, slots=True)
class Condition:
    """One restriction: its SQL, and what it is called where it explains a miss.

    Attributes:
        sql: of `images i` and `tagged_images t`.
    """

    code: str
    sql: str


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the wanted images; no image is in two parts.

    Attributes:
        source: `FROM … WHERE …` with the images as `i`, and with `t`, their row of tagged_images,
            where they have one.
        times: the alias whose `arrived_at` or `taken_at`, and `image_id`, are to be sorted by: each
            part has an index for it.
    """

    source: str
    times: str


async def table(connection: Transaction, wanted: ImageFilter) -> str:
    """Return the relation with the tags that are looked for: image_id, score, ts, label_id."""
    return "excluded_tags" if wanted.excluded else await noted.table(connection)


async def narrow(connection: Transaction, wanted: ImageFilter, tags: str) -> Labels | None:
    """Return labels of the filter that few images have: then these are read, else the archive.

    The planner thinks that what matches lies evenly in the archive. Of a label that few images have
    surely enough, it would walk through all of them in the order of time to find a page.
    """
    if tags != "image_tags":
        return None
    for label_ids, least in _sought(wanted):
        number = await connection.fetchval(_COUNT_TAGS, list(label_ids), least, FEW_TAGGED)
        if number < FEW_TAGGED:
            return label_ids
    return None


def _sought(wanted: ImageFilter) -> Iterator[tuple[Labels, int]]:
    """Yield the sets of labels of which an image must have one, and the least score."""
    least = wanted.min_score if wanted.named is None else 0
    for one in wanted.every:
        yield ((one.label_id,) if one.label_id is not None else (), least)
    if wanted.some:
        some = {one.label_id for one in wanted.some if one.label_id is not None}
        yield tuple(sorted(some)), least
    if wanted.named is not None and wanted.min_score <= 1:
        yield tuple(sorted(set(wanted.named))), 1


def parts(
    wanted: ImageFilter,
    arguments: Arguments,
    *,
    tags: str,
    also: Also | None = None,
    first: Labels | None = None,
) -> tuple[Part, ...]:
    """Return the SQL of the wanted images.

    Args:
        arguments: get the values of the parameters.
        tags: what `table` returned.
        also: a further restriction.
        first: what `narrow` returned: images with one of these labels are read before all others.
    """
    restrictions = [one.sql for one in conditions(wanted, arguments, tags=tags, first=first)]
    if also is not None:
        restrictions.append(also(arguments))
    where = " AND ".join(["i.status <> 'deleted'", *restrictions])
    of_images = "FROM images i LEFT JOIN tagged_images t ON t.image_id = i.image_id"
    closed = Part(f"{of_images} WHERE NOT i.open_to_all AND {where}", "i")
    if wanted.owner is not None:
        owner = arguments.add(wanted.owner, "text")
        closed = Part(
            "FROM image_owners o JOIN images i ON i.image_id = o.image_id"
            " LEFT JOIN tagged_images t ON t.image_id = i.image_id"
            f" WHERE o.owner = {owner} AND NOT i.open_to_all AND"
            f" {where.replace('i.taken_at', 'o.taken_at')}",
            "o",
        )
    return (Part(f"{of_images} WHERE i.open_to_all AND {where}", "i"), closed)


def conditions(
    wanted: ImageFilter, arguments: Arguments, *, tags: str, first: Labels | None = None
) -> Iterator[Condition]:
    """Yield what must hold of an image that the caller may see; arguments as of `parts`."""
    yield from _of_rows(wanted, arguments)
    yield from _of_decisions(wanted)
    yield from _of_tags(wanted, arguments, tags, first)


def _of_rows(wanted: ImageFilter, arguments: Arguments) -> Iterator[Condition]:
    other, dates = "other_filter", "outside_dates"
    ids = None if wanted.image_ids is None else list(wanted.image_ids)
    for code, sql, kind, value in (
        (other, "i.image_id = ANY({})", "uuid[]", ids),
        (other, "i.job_id = {}", "uuid", wanted.job_id),
        (other, "i.status = 'failed' AND i.reason = {}", "text", wanted.reason),
        (dates, "i.taken_at >= {}", "timestamptz", wanted.since),
        (dates, "i.taken_at < {}", "timestamptz", wanted.until),
        (other, "t.camera = {}", "text", wanted.camera),
    ):
        if value is not None:
            yield Condition(code, sql.format(arguments.add(value, kind)))
    if wanted.status is not None:
        if wanted.status not in STATUSES:
            raise ValueError(f"{wanted.status!r} is no status")
        # Written out: the planner takes a partial index only for a value that it sees.
        yield Condition(other, f"i.status = '{wanted.status}'")
    if wanted.folder is not None:
        yield Condition(other, below("i.path", wanted.folder, arguments))


def below(path: str, folder: str, arguments: Arguments) -> str:
    """Return the condition that a path lies in a folder or below it, with its index in use."""
    inside = f"starts_with({path}, {arguments.add(f'{folder}/', 'text')})"
    indexed = f'folder_of({path}) COLLATE "C"'
    kept = arguments.add(folder[:INDEXED_CHARS], "text")
    if len(folder) >= INDEXED_CHARS:
        return f"({indexed} = {kept} AND {inside})"
    # "0" is what follows "/". Names with a space or a dot stand between a folder and what is in it.
    return (
        f"({indexed} = {kept} OR ({indexed} >= {kept} || '/' AND {indexed} < {kept} || '0'))"
        f" AND {inside}"
    )


def _of_decisions(wanted: ImageFilter) -> Iterator[Condition]:
    if wanted.excluded is not None:
        yield Condition("excluded", "i.excluded" if wanted.excluded else "NOT i.excluded")
    if wanted.hand_tagged is not None:
        by_hand = "(i.hand_tags IS NOT NULL OR i.added_tags <> '{}')"
        yield Condition("other_filter", by_hand if wanted.hand_tagged else f"NOT {by_hand}")
    if wanted.has_tags is not None:
        comparison = "<>" if wanted.has_tags else "="
        yield Condition("other_filter", f"coalesce(t.tags, '[]') {comparison} '[]'::jsonb")
    if wanted.has_date is not None:
        is_so = "IS NOT NULL" if wanted.has_date else "IS NULL"
        yield Condition("other_filter", f"t.exif_datetime {is_so}")


def _of_tags(
    wanted: ImageFilter, arguments: Arguments, tags: str, first: Labels | None
) -> Iterator[Condition]:
    asked = bool(wanted.every or wanted.some)
    for label_ids, least in _sought(wanted):
        code = "below_min_score" if wanted.named is not None and least == 1 else "tags_missing"
        yield Condition(code, _has(tags, label_ids, least, arguments, is_first=label_ids == first))
    for name in wanted.without:
        shown = arguments.add(json.dumps([{"tag": name}]), "jsonb")
        yield Condition("other_filter", f"NOT coalesce(t.tags @> {shown}, false)")
    if wanted.named is not None and wanted.min_score > 1:
        yield Condition("below_min_score", _sums_up(wanted, arguments, tags))
    elif wanted.named is None and wanted.min_score and not asked:
        # Along `image_tags_list`, of which each label's end is read: no image's own row is.
        sure = f"s.image_id = t.id AND s.score >= {arguments.add(wanted.min_score, 'int4')}"
        yield Condition("below_min_score", f"EXISTS (SELECT FROM {tags} s WHERE {sure})")


def _sums_up(wanted: ImageFilter, arguments: Arguments, tags: str) -> str:
    label_ids = arguments.add(sorted(set(wanted.named or ())), "int2[]")
    least = arguments.add(wanted.min_score, "int8")
    of_named = f"FROM {tags} s WHERE s.image_id = t.id AND s.label_id = ANY({label_ids})"
    return f"(SELECT sum(s.score) {of_named}) >= {least}"


def _has(tags: str, label_ids: Labels, least: int, arguments: Arguments, *, is_first: bool) -> str:
    """Return the condition that an image has one of these labels with at least such a score."""
    if not label_ids:
        return "false"
    if len(label_ids) == 1:
        is_it = f"s.label_id = {arguments.add(label_ids[0], 'int2')}"
    else:
        is_it = f"s.label_id = ANY({arguments.add(list(label_ids), 'int2[]')})"
    sure = f" AND s.score >= {arguments.add(least, 'int4')}" if least else ""
    if is_first:
        return f"t.id = ANY(ARRAY(SELECT s.image_id FROM {tags} s WHERE {is_it}{sure}))"
    return f"EXISTS (SELECT FROM {tags} s WHERE s.image_id = t.id AND {is_it}{sure})"
