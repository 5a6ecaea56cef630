"""Folders that images are in, counted, and found without reading the images between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.storage.finding import image_pages
from core.storage.finding.filter_sql import INDEXED_CHARS
from core.storage.finding.filters import ImageFilter
from core.transaction import Transaction

#: Folders of one answer; a form shows no more.
MOST_FOLDERS = 200
#: Folders looked at until so many were found that the caller sees something in.
_MOST_STEPS = 2_000
#: So many of an owner's images, the newest, are looked through for their folders: half a second.
_MOST_OWNED = 200_000
# From one folder to the next, along index images_folder: each step skips all that lies below one.
# What follows a name may be less than "/": "2020 b" stands between "2020" and "2020/may".
_WALK = """
WITH RECURSIVE child AS (
    SELECT 0 AS step, ''::text AS name, $1::text || chr(1) AS behind
    UNION ALL
    SELECT step + 1, n.name, CASE WHEN next.folder = $1::text || n.name THEN next.folder || chr(1)
                                  ELSE $1::text || n.name || '0' END
    FROM child CROSS JOIN LATERAL (
        SELECT folder_of(i.path) AS folder FROM images i
        WHERE i.open_to_all = {is_open} AND folder_of(i.path) COLLATE "C" >= child.behind
          AND folder_of(i.path) COLLATE "C" < $2
        ORDER BY folder_of(i.path) COLLATE "C" LIMIT 1) AS next
    CROSS JOIN LATERAL (
        SELECT split_part(substr(next.folder, length($1::text) + 1), '/', 1) AS name) AS n
    WHERE step < $3
)
SELECT DISTINCT name FROM child WHERE name <> ''
"""
# Of folders whose paths are longer than the index has them: $2 is what it has.
_LONG_CHILDREN = """
SELECT DISTINCT split_part(substr(i.path, length($1::text) + 1), '/', 1) AS name FROM images i
WHERE folder_of(i.path) COLLATE "C" = $2 AND starts_with(i.path, $1)
  AND strpos(substr(i.path, length($1::text) + 1), '/') > 1
ORDER BY name LIMIT $3
"""
# Between an owner's folders there may be any number of others': they are found by the images.
_OWNED = """
SELECT DISTINCT split_part(substr(f.folder, length($1::text) + 1), '/', 1) AS name
FROM (SELECT image_id FROM image_owners WHERE owner = $4 ORDER BY arrived_at DESC LIMIT $5) AS o
JOIN images i USING (image_id)
CROSS JOIN LATERAL (SELECT folder_of(i.path) COLLATE "C" AS folder) AS f
WHERE NOT i.open_to_all AND f.folder >= $1::text || chr(1) AND f.folder < $2
"""
_CHILDREN = (
    "SELECT name FROM ({open_to_all}) AS o UNION SELECT name FROM ({closed}) AS c ORDER BY name"
)
_SEEN = _CHILDREN.format(open_to_all=_WALK.format(is_open="true"), closed=_OWNED)
_ALL = _CHILDREN.format(
    open_to_all=_WALK.format(is_open="true"), closed=_WALK.format(is_open="false")
)


@dataclass(frozen=True, slots=True)
class CountedFolder:
    """A folder, and how many images are in it and below it; counted up to a bound."""

    folder: str
    images: int
    is_exact: bool


async def below(
    connection: Transaction, under: str, *, owner: str | None, most: int
) -> Sequence[CountedFolder]:
    """Return the folders right under one ('' for those that are in none), by name.

    Args:
        owner: only folders with images that this owner may see are returned, and these counted; of
            an owner's images the newest 200,000 tell of folders.
        most: up to which images are counted.
    """
    prefix = f"{under}/" if under else ""
    found: list[CountedFolder] = []
    for name in await _names_below(connection, prefix, owner):
        wanted = ImageFilter(owner=owner, folder=f"{prefix}{name}")
        count = await image_pages.count(connection, wanted, most=most)
        if count.images:
            found.append(CountedFolder(wanted.folder or "", count.images, count.is_exact))
        if len(found) == MOST_FOLDERS:
            break
    return found


async def _names_below(connection: Transaction, prefix: str, owner: str | None) -> Sequence[str]:
    """Return the names of the folders right under one; the index has their paths cut."""
    if len(prefix) >= INDEXED_CHARS:
        return await _long_names(connection, prefix, prefix[:INDEXED_CHARS])
    # "0" follows "/", and no path has a character behind the last one.
    end = f"{prefix[:-1]}0" if prefix else "\U0010ffff"
    bounds = (prefix, end, _MOST_STEPS)
    if owner is None:
        rows = await connection.fetch(_ALL, *bounds)
    else:
        rows = await connection.fetch(_SEEN, *bounds, owner, _MOST_OWNED)
    names: dict[str, None] = {}
    for row in rows:
        indexed = f"{prefix}{row['name']}"
        is_whole = len(indexed) < INDEXED_CHARS
        for name in [row["name"]] if is_whole else await _long_names(connection, prefix, indexed):
            names[name] = None
    return tuple(names)


async def _long_names(connection: Transaction, prefix: str, indexed: str) -> Sequence[str]:
    rows = await connection.fetch(_LONG_CHILDREN, prefix, indexed, _MOST_STEPS)
    return tuple(row["name"] for row in rows)
