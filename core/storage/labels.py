"""Labels: the default set with its version, and labels that single images brought."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from core.errors import RecordRefused
from core.storage.locks import LABELS
from core.tags import MAX_OWN_LABELS, Label
from core.transaction import Transaction
from schemas.labels import MAX_LABELS
from schemas.names import distinct

_COLUMNS = "id, name, aliases, templates, threshold, photos, by_words"
_LABELS = f"""
SELECT {_COLUMNS} FROM labels WHERE position IS NOT NULL ORDER BY position, id
"""  # noqa: S608 - constants only
_ALL = f"SELECT {_COLUMNS} FROM labels ORDER BY id"  # noqa: S608 - constants only
_COUNT_OWN = "SELECT count(*) FROM labels WHERE position IS NULL"
_IDS = """
SELECT u.given AS name, l.id FROM unnest($1::text[]) AS u (given)
JOIN labels l ON l.folded = label_key(u.given)
"""
_SPELLED = """
SELECT u.given, l.name FROM unnest($1::text[]) AS u (given)
JOIN labels l ON l.folded = label_key(u.given)
"""
_ADD = """
INSERT INTO labels (id, name)
SELECT (SELECT coalesce(max(id), 0) FROM labels) + row_number() OVER (ORDER BY u.n), u.name
FROM unnest($1::text[]) WITH ORDINALITY AS u (name, n)
ON CONFLICT (folded) DO NOTHING
"""
_DEFINE = """
UPDATE labels SET position = u.position, aliases = u.aliases::jsonb,
                  templates = u.templates::jsonb, threshold = u.threshold,
                  photos = u.photos::uuid[], by_words = u.by_words
FROM unnest($1::text[], $2::int4[], $3::text[], $4::text[], $5::real[], $6::text[], $7::bool[])
     AS u (name, position, aliases, templates, threshold, photos, by_words)
WHERE labels.folded = label_key(u.name)
"""
_RAISE = "UPDATE label_set SET version = version + 1, changed_at = now() RETURNING version"
_UNLEARN = """
UPDATE labels SET photos = array_remove(photos, $1)
WHERE photos <> '{}' AND photos @> ARRAY[$1::uuid]
"""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The default labels, in order, with the version that every change raises."""

    version: int
    labels: tuple[Label, ...]


async def current(connection: Transaction) -> LabelSet:
    """Return the default labels with their version."""
    version = await connection.fetchval("SELECT version FROM label_set")
    return LabelSet(version, _labels(await connection.fetch(_LABELS)))


async def everything(connection: Transaction) -> LabelSet:
    """Return all labels that a query may match, those of single images too, by id."""
    version = await connection.fetchval("SELECT version FROM label_set")
    return LabelSet(version, _labels(await connection.fetch(_ALL)))


async def state(connection: Transaction) -> tuple[int, int]:
    """Return (version, greatest id): while both stay, no label was changed or added."""
    row = await connection.fetchrow(
        "SELECT version, (SELECT coalesce(max(id), 0) FROM labels) AS newest FROM label_set"
    )
    if row is None:
        raise RuntimeError("table label_set is empty: its row was deleted by hand")
    return row["version"], row["newest"]


async def hold_version(tx: Transaction) -> int:
    """Return the version and keep it from changing until the transaction ends."""
    return int(await tx.fetchval("SELECT version FROM label_set FOR SHARE"))


async def known(connection: Transaction, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of those names that are labels, in whichever spelling."""
    return {row["name"]: row["id"] for row in await connection.fetch(_IDS, sorted(set(names)))}


async def spelled(connection: Transaction, names: Iterable[str]) -> dict[str, str]:
    """Return each name as its label spells it, or as it stands where it is no label yet."""
    wanted = sorted(set(names))
    rows = await connection.fetch(_SPELLED, wanted) if wanted else ()
    return {name: name for name in wanted} | {row["given"]: row["name"] for row in rows}


async def ensure(tx: Transaction, names: Iterable[str]) -> dict[str, int]:
    """Return the id of every name, adding those that are not there yet, as labels of single images.

    Raises:
        RecordRefused: there would be more than 30,000 labels, or 25,000 that are not in the default
            set.
    """
    return await _ensure(tx, names, most_own=MAX_OWN_LABELS)


async def _ensure(tx: Transaction, names: Iterable[str], *, most_own: int) -> dict[str, int]:
    wanted = sorted(set(names))
    known = {row["name"]: row["id"] for row in await tx.fetch(_IDS, wanted)}
    if len(known) == len(wanted):
        return known
    await tx.execute("SELECT pg_advisory_xact_lock($1)", LABELS)
    known = {row["name"]: row["id"] for row in await tx.fetch(_IDS, wanted)}
    missing = distinct(name for name in wanted if name not in known)
    total = await tx.fetchval("SELECT coalesce(max(id), 0) FROM labels") + len(missing)
    if total > MAX_LABELS:
        raise RecordRefused(
            f"{total} labels: the limit is {MAX_LABELS} in all", reason="too_many_labels"
        )
    own = await tx.fetchval(_COUNT_OWN) + len(missing)
    if own > most_own:
        raise RecordRefused(
            f"{own} labels that are not in the default set: the limit is {most_own}",
            reason="too_many_labels",
        )
    await tx.execute(_ADD, missing)
    return {row["name"]: row["id"] for row in await tx.fetch(_IDS, wanted)}


async def define(tx: Transaction, labels: Sequence[Label]) -> int:
    """Make these the default labels, in this order; return the new version.

    A name that is a label already in another spelling is that label, and keeps that spelling: what
    images show, and what people decided about single tags, is written by it.
    Labels that leave the set keep their rows: images may still carry them.
    """
    await tx.execute("SELECT version FROM label_set FOR UPDATE")
    await _ensure(tx, [label.name for label in labels], most_own=MAX_LABELS)
    await tx.execute("UPDATE labels SET position = NULL WHERE position IS NOT NULL")
    await tx.execute(
        _DEFINE,
        [label.name for label in labels],
        list(range(len(labels))),
        [json.dumps(label.aliases, ensure_ascii=False) for label in labels],
        [json.dumps(label.templates, ensure_ascii=False) for label in labels],
        [label.threshold for label in labels],
        # An array of arrays would have to be a rectangle.
        ["{" + ",".join(map(str, label.photos)) + "}" for label in labels],
        [label.by_words for label in labels],
    )
    return await raise_version(tx)


async def redefine(tx: Transaction, labels: Sequence[Label], *, expected: int | None) -> int | None:
    """Make these the default labels; return the version then in force.

    Labels that are what is in force already change nothing, the version neither.

    Args:
        expected: the version that they are to replace; None: whatever is in force.

    Returns:
        None where another version is in force; nothing was changed then.

    Raises:
        RecordRefused: there would be more than 30,000 labels.
    """
    version = await lock_version(tx)
    if expected is not None and expected != version:
        return None
    known = [replace(label, id=None) for label in _labels(await tx.fetch(_LABELS))]
    spelling = await spelled(tx, [label.name for label in labels])
    if known == [replace(label, id=None, name=spelling[label.name]) for label in labels]:
        return version
    return await define(tx, labels)


async def lock_version(tx: Transaction) -> int:
    """Return the version and keep everybody from using it until the transaction ends."""
    return int(await tx.fetchval("SELECT version FROM label_set FOR UPDATE"))


async def unlearn(tx: Transaction, image_id: UUID) -> None:
    """Take an image, which is being deleted, from the photos that teach labels.

    What was learnt from it stays until the labels change.
    """
    # A change of the labels that began before has ended then, and one that comes after finds no
    # such image any more.
    await hold_version(tx)
    await tx.execute(_UNLEARN, image_id)


async def raise_version(tx: Transaction) -> int:
    """Have all images scored again by the labels in force; return their new version."""
    return int(await tx.fetchval(_RAISE))


async def changed_at(connection: Transaction) -> datetime:
    """Return when the default labels were last changed."""
    moment: datetime = await connection.fetchval("SELECT changed_at FROM label_set")
    return moment


async def define_if_absent(tx: Transaction, labels: Sequence[Label]) -> int:
    """Make these the default labels where none were ever defined; give the version in force."""
    version = await tx.fetchval("SELECT version FROM label_set FOR UPDATE")
    return int(version) if version else await define(tx, labels)


def _labels(rows: Sequence[Mapping[str, Any]]) -> tuple[Label, ...]:
    return tuple(
        Label(
            name=row["name"],
            aliases=tuple(json.loads(row["aliases"])),
            templates=tuple(json.loads(row["templates"])),
            threshold=None if row["threshold"] is None else round(row["threshold"], 6),
            photos=tuple(row["photos"]),
            by_words=row["by_words"],
            id=row["id"],
        )
        for row in rows
    )
