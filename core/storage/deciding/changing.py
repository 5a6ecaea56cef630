"""A step of a change to many images: some of them are changed, or given back what they had.

A step is one transaction: decisions, tags, what queries read, what to undo, and how far the change
has come. What is decided in a step is seen again with the images locked: whoever came first counts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from core.storage.archive import curation, following, image_deletion, image_tags
from core.storage.archive.answer_rows import StoredTags
from core.storage.deciding import image_changes
from core.storage.deciding.image_changes import ImageChange
from core.storage.finding import image_pages
from core.storage.finding.filter_sql import Also, Arguments
from core.transaction import Transaction

#: Images of one transaction: it takes some 0.1 s, the longest that others wait for one of them.
IMAGES_PER_STEP = 200
#: Deleting one takes ten statements.
DELETIONS_PER_STEP = 25

_KEEP = """
INSERT INTO image_change_rows (change_id, image_id, arrived_at, hand_tags, rejected_tags,
                               added_tags, decided_by, decided_at)
SELECT $1, image_id, arrived_at, hand_tags, rejected_tags, added_tags, decided_by, decided_at
FROM images WHERE image_id = ANY($2::uuid[]) ORDER BY image_id
ON CONFLICT DO NOTHING
"""
_KEPT = """
SELECT image_id FROM image_change_rows WHERE change_id = $1 AND ($2::uuid IS NULL OR image_id > $2)
ORDER BY image_id LIMIT $3
"""
# Who decided last is again who did before, unless somebody decided something else meanwhile.
_DECIDED_BEFORE = """
decided_by = CASE WHEN i.decided_at = r.changed_at THEN r.decided_by ELSE i.decided_by END,
decided_at = CASE WHEN i.decided_at = r.changed_at THEN r.decided_at ELSE i.decided_at END
"""


@dataclass(frozen=True, slots=True)
class _Decision:
    """How one kind of change is made and undone: SQL of `images i`, its rows `r` of before.

    Attributes:
        is_due: that it would change an image (with `tagged_images t`).
        sets: what it sets.
        holds: that an image is still as the change left it.
        restores: what gives back what was there.
        is_of_tags: whether other tags are shown by it.
    """

    is_due: str
    sets: str
    holds: str
    restores: str
    is_of_tags: bool = True


# {tag}: the parameter with the tag; {shown}: with `[{"tag": …}]`; {given}: that, with its score.
_DECISIONS: Mapping[str, _Decision] = {
    # Only what the model says: where people set tags, or added this one, it stays.
    "remove_tag": _Decision(
        is_due="i.hand_tags IS NULL AND {tag} <> ALL (i.added_tags) AND t.tags @> {shown}",
        sets="rejected_tags = array_append(array_remove(i.rejected_tags, {tag}), {tag})",
        holds="i.hand_tags IS NULL AND {tag} = ANY (i.rejected_tags)",
        restores="rejected_tags = CASE WHEN {tag} = ANY (r.rejected_tags) THEN i.rejected_tags"
        " ELSE array_remove(i.rejected_tags, {tag}) END",
    ),
    "add_tag": _Decision(
        is_due="CASE WHEN i.hand_tags IS NULL THEN {tag} <> ALL (i.added_tags)"
        " ELSE NOT i.hand_tags @> {shown} END",
        sets="hand_tags = {given} || i.hand_tags, added_tags = CASE WHEN i.hand_tags IS NULL"
        " THEN array_append(i.added_tags, {tag}) ELSE i.added_tags END",
        holds="CASE WHEN r.hand_tags IS NOT NULL THEN i.hand_tags = {given} || r.hand_tags"
        " ELSE i.hand_tags IS NULL AND {tag} = ANY (i.added_tags) END",
        restores="hand_tags = r.hand_tags, added_tags = CASE WHEN r.hand_tags IS NULL"
        " THEN array_remove(i.added_tags, {tag}) ELSE i.added_tags END",
    ),
    "exclude": _Decision(
        is_due="NOT i.excluded",
        sets="excluded = true",
        holds="i.excluded",
        restores="excluded = false",
        is_of_tags=False,
    ),
    "include": _Decision(
        is_due="i.excluded",
        sets="excluded = false",
        holds="NOT i.excluded",
        restores="excluded = true",
        is_of_tags=False,
    ),
    "forget_hand_tags": _Decision(
        is_due="(i.hand_tags IS NOT NULL OR i.rejected_tags <> '{{}}' OR i.added_tags <> '{{}}')",
        sets="hand_tags = NULL, rejected_tags = '{{}}', added_tags = '{{}}'",
        holds="i.hand_tags IS NULL AND i.rejected_tags = '{{}}' AND i.added_tags = '{{}}'",
        restores="hand_tags = r.hand_tags, rejected_tags = r.rejected_tags,"
        " added_tags = r.added_tags",
    ),
}


@dataclass(frozen=True, slots=True)
class ChangeStep:
    """What a step did.

    Attributes:
        stored: tags that queries read from now on, to be offered to the best images.
        state: of the change, where the step ended it.
    """

    change: ImageChange
    images: int
    stored: Sequence[StoredTags] = ()
    state: str | None = None


def to_change(change: Mapping[str, Any], owner: str | None) -> Also:
    """Return the restriction to images that a change would change.

    Args:
        change: the kind and its value.
        owner: whose images alone it may change; None: an administrator, who may change all.
    """

    def restriction(arguments: Arguments) -> str:
        mine = []
        if owner is not None:
            mine.append(_is_owned(owner, arguments))
        if "delete" not in change:
            decision, write = _decision(change, arguments)
            mine.append(write(decision.is_due))
        return " AND ".join(mine) or "true"

    return restriction


async def step(tx: Transaction, change: ImageChange) -> ChangeStep:
    """Make a step of a change, which `image_changes.hold_next` holds.

    Raises:
        RecordRefused: a label would be one too many.
    """
    if change.state == "undoing":
        return await _undo(tx, change)
    size = DELETIONS_PER_STEP if change.kind == "delete" else IMAGES_PER_STEP
    due = _arrived(to_change(change.change, None if change.acts_on_all else change.owner), change)
    image_ids = await image_pages.ids(tx, change.wanted, size, change.position, also=due)
    if not image_ids:
        return ChangeStep(change, 0, state=await image_changes.end(tx, change.change_id))
    await image_tags.lock(tx, image_ids)
    # Somebody may have changed them while this waited for the locks: such are not wanted any more.
    held = replace(change.wanted, image_ids=tuple(image_ids))
    chosen = await image_pages.ids(tx, held, size, also=due)
    stored: Sequence[StoredTags] = ()
    if change.kind == "delete":
        changed = await _delete(tx, change, chosen)
    else:
        changed, stored = len(chosen), await _decide(tx, change, chosen)
    await image_changes.advance(tx, change.change_id, image_ids[-1], changed=changed)
    return ChangeStep(change, changed, stored)


def _arrived(due: Also, change: ImageChange) -> Also:
    """Return the restriction to what was there when the change was asked for."""
    return lambda arguments: (
        f"{due(arguments)} AND i.arrived_at <= {arguments.add(change.created_at, 'timestamptz')}"
    )


async def _decide(
    tx: Transaction, change: ImageChange, chosen: Sequence[UUID]
) -> Sequence[StoredTags]:
    if not chosen:
        return ()
    await tx.execute(_KEEP, change.change_id, chosen)
    arguments = Arguments()
    decision, write = _decision(change.change, arguments)
    by, ids = arguments.add(change.owner, "text"), arguments.add(chosen, "uuid[]")
    await tx.execute(
        f"UPDATE images i SET {write(decision.sets)}, decided_by = {by}, decided_at = now(),"  # noqa: S608
        f" updated_at = now() WHERE i.image_id = ANY({ids})",
        *arguments.values,
    )
    if decision.is_of_tags:
        await curation.show(tx, chosen)
    else:
        await curation.release(tx, chosen)
    return await following.rewrite(tx, chosen)


async def _delete(tx: Transaction, change: ImageChange, image_ids: Sequence[UUID]) -> int:
    deleted = 0
    for image_id in image_ids:
        if change.acts_on_all:
            gone: object = await image_deletion.delete(tx, image_id, by=change.owner)
        else:
            gone = await image_deletion.leave(tx, image_id, change.owner)
        deleted += gone is not None
    return deleted


async def _undo(tx: Transaction, change: ImageChange) -> ChangeStep:
    rows = await tx.fetch(_KEPT, change.change_id, change.position, IMAGES_PER_STEP)
    if not rows:
        return ChangeStep(change, 0, state=await image_changes.end(tx, change.change_id))
    image_ids = [row["image_id"] for row in rows]
    await image_tags.lock(tx, image_ids)
    arguments = Arguments()
    decision, write = _decision(change.change, arguments)
    change_id, ids = arguments.add(change.change_id, "uuid"), arguments.add(image_ids, "uuid[]")
    mine = "true" if change.acts_on_all else _is_owned(change.owner, arguments)
    restored = await tx.fetch(
        f"UPDATE images i SET {write(decision.restores)}, updated_at = now(),"  # noqa: S608
        f" {_DECIDED_BEFORE}"
        f" FROM image_change_rows r WHERE r.change_id = {change_id} AND r.image_id = ANY({ids})"
        " AND i.image_id = r.image_id AND i.arrived_at = r.arrived_at AND i.status <> 'deleted'"
        f" AND {write(decision.holds)} AND {mine} RETURNING i.image_id",
        *arguments.values,
    )
    chosen = [row["image_id"] for row in restored]
    if decision.is_of_tags:
        await curation.show(tx, chosen)
    stored = await following.rewrite(tx, chosen)
    await image_changes.advance(tx, change.change_id, image_ids[-1], restored=len(chosen))
    return ChangeStep(change, len(chosen), stored)


def _is_owned(owner: str, arguments: Arguments) -> str:
    name = arguments.add(owner, "text")
    return f"EXISTS (SELECT FROM image_owners m WHERE m.image_id = i.image_id AND m.owner = {name})"


def _decision(
    change: Mapping[str, Any], arguments: Arguments
) -> tuple[_Decision, Callable[[str], str]]:
    """Return the decision, and what writes its SQL with its parameters."""
    kind, value = next(iter(change.items()))
    if kind == "excluded":
        kind = "exclude" if value else "include"
    added: dict[str, str] = {}

    def parameter(name: str) -> str:
        if name not in added:
            content = {
                "tag": value,
                "shown": json.dumps([{"tag": value}]),
                "given": json.dumps([{"tag": value, "score": 1.0}]),
            }[name]
            added[name] = arguments.add(content, "text" if name == "tag" else "jsonb")
        return added[name]

    def write(sql: str) -> str:
        names = [name for name in ("tag", "shown", "given") if f"{{{name}}}" in sql]
        return sql.format(**{name: parameter(name) for name in names})

    return _DECISIONS[kind], write
