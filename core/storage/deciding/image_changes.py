"""Decisions about all images that a filter finds: table `image_changes`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from core.storage.finding import filters
from core.storage.finding.filters import ImageFilter
from core.transaction import Transaction

Kind = Literal["remove_tag", "add_tag", "excluded", "forget_hand_tags", "delete"]

#: How long what images were like before is kept.
UNDONE_WITHIN = timedelta(days=7)
#: Changes of one owner that are not finished: they are worked off in turn with those of others.
MOST_OPEN = 8

_COLUMNS = """change_id, owner, acts_on_all, asked, filter, change, state, matches, is_exact,
       changed, restored, position, error, created_at, begins_at, updated_at, finished_at"""
_CREATE = f"""
INSERT INTO image_changes
    (change_id, owner, acts_on_all, asked, filter, change, state, matches, is_exact, begins_at)
SELECT $1, $2, $3, $4::jsonb, $5::jsonb, $6::jsonb, 'waiting', $7, $8,
       now() + make_interval(secs => $9)
WHERE (SELECT count(*) FROM image_changes
       WHERE owner = $2 AND state IN ('waiting', 'running', 'undoing')) < {MOST_OPEN}
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_GET = f"SELECT {_COLUMNS} FROM image_changes WHERE change_id = $1"  # noqa: S608
_CUT = """CASE WHEN jsonb_typeof({0}->'{1}') = 'array'
            THEN jsonb_set({0}, '{{{1}}}', jsonb_path_query_array({0}, '$.{1}[0 to 99]'))
            ELSE {0} END AS {0}"""
#: Thousands of ids are no news in a list of changes: of each the first hundred.
_BRIEF = f"{_CUT.format('asked', 'ids')}, {_CUT.format('filter', 'image_ids')}"
_RECENT = f"""
SELECT {_COLUMNS.replace("asked, filter", _BRIEF)} FROM image_changes
WHERE ($1::text IS NULL OR owner = $1)
  AND ($2::timestamptz IS NULL OR (created_at, change_id) < ($2, $3))
ORDER BY created_at DESC, change_id DESC LIMIT $4
"""  # noqa: S608 - constants only
# Whoever changes this row waits for the step under way; so two processes make no step twice.
_NEXT = f"""
SELECT {_COLUMNS} FROM image_changes
WHERE state IN ('waiting', 'running', 'undoing') AND begins_at <= now()
ORDER BY updated_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants only
_HOLD = f"SELECT {_COLUMNS} FROM image_changes WHERE change_id = $1 FOR UPDATE"  # noqa: S608
_POSTPONE = "UPDATE image_changes SET updated_at = clock_timestamp() WHERE change_id = $1"
_IS_OPEN = """
SELECT EXISTS (SELECT FROM image_changes
               WHERE state IN ('waiting', 'running', 'undoing') AND begins_at <= now())
"""
_STEP = """
UPDATE image_changes SET position = $2, changed = changed + $3, restored = restored + $4,
    state = CASE WHEN state = 'waiting' THEN 'running' ELSE state END,
    updated_at = clock_timestamp()
WHERE change_id = $1
"""
_END = """
UPDATE image_changes SET error = $2::text, position = NULL, updated_at = now(), finished_at = now(),
    state = CASE WHEN $2::text IS NOT NULL THEN 'failed' WHEN state = 'undoing' THEN 'undone'
                 ELSE 'done' END
WHERE change_id = $1 RETURNING state
"""
# Also of one that is under way: it goes no further, and what it has done is taken back. A deletion
# that has not begun is simply not made.
_UNDO = """
UPDATE image_changes SET position = NULL, error = NULL, updated_at = now(), begins_at = now(),
    state = CASE WHEN change ? 'delete' THEN 'undone' ELSE 'undoing' END,
    finished_at = CASE WHEN change ? 'delete' THEN now() END
WHERE change_id = $1 AND state IN ('waiting', 'running', 'done', 'failed')
  AND created_at > now() - $2::interval AND (state = 'waiting' OR NOT change ? 'delete')
RETURNING true
"""


@dataclass(frozen=True, slots=True)
class ImageChange:
    """One decision about many images.

    Attributes:
        acts_on_all: an administrator's: of whoever the images are; else of those of the owner.
        asked: the filter as it was sent.
        wanted: what it meant then.
        change: the kind, and the tag or whether to exclude.
        matches: images that the filter found then, counted up to a bound unless `is_exact`.
        restored: of the changed ones, when it was undone.
        position: the last image looked at.
        error: why it failed.
    """

    change_id: UUID
    owner: str
    acts_on_all: bool
    asked: Mapping[str, Any]
    wanted: ImageFilter
    change: Mapping[str, Any]
    state: str
    matches: int
    is_exact: bool
    changed: int
    restored: int
    position: UUID | None
    error: str | None
    created_at: datetime
    begins_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @property
    def kind(self) -> str:
        """Which decision it is."""
        return next(iter(self.change))

    @property
    def value(self) -> Any:
        """The tag, or whether to exclude."""
        return self.change[self.kind]

    @property
    def can_undo_until(self) -> datetime | None:
        """When it can be undone no more; None where it never can, or was."""
        if self.kind == "delete":
            return self.begins_at if self.state == "waiting" else None
        if self.state in {"undoing", "undone"}:
            return None
        return self.created_at + UNDONE_WITHIN

    @property
    def left_alone(self) -> int:
        """Images that somebody changed or deleted in between, once it is undone."""
        return self.changed - self.restored if self.state == "undone" else 0


@dataclass(frozen=True, slots=True)
class NewChange:
    """A decision to be made; fields as in `ImageChange`.

    Attributes:
        delay_s: before it begins.
    """

    change_id: UUID
    owner: str
    acts_on_all: bool
    asked: Mapping[str, Any]
    wanted: ImageFilter
    change: Mapping[str, Any]
    matches: int
    is_exact: bool
    delay_s: int = 0


async def create(tx: Transaction, new: NewChange) -> ImageChange | None:
    """Write a change for the next step of upkeep; None where the owner has too many open ones."""
    row = await tx.fetchrow(
        _CREATE,
        new.change_id,
        new.owner,
        new.acts_on_all,
        json.dumps(new.asked),
        filters.to_json(new.wanted),
        json.dumps(new.change),
        new.matches,
        new.is_exact,
        new.delay_s,
    )
    return None if row is None else _change(row)


async def get(connection: Transaction, change_id: UUID) -> ImageChange | None:
    """Return a change, or None."""
    row = await connection.fetchrow(_GET, change_id)
    return None if row is None else _change(row)


async def recent(
    connection: Transaction,
    *,
    owner: str | None,
    before: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[ImageChange]:
    """Return changes, the newest first, with a hundred ids each; `owner` None: of all."""
    at, change_id = before or (None, None)
    return [_change(row) for row in await connection.fetch(_RECENT, owner, at, change_id, limit)]


async def are_open(connection: Transaction) -> bool:
    """Return whether there is a change to go on with."""
    return bool(await connection.fetchval(_IS_OPEN))


async def hold_next(tx: Transaction) -> ImageChange | None:
    """Return the change whose turn it is, held until the transaction ends; None: there is none."""
    row = await tx.fetchrow(_NEXT)
    return None if row is None else _change(row)


async def hold(tx: Transaction, change_id: UUID) -> ImageChange | None:
    """Return a change, held until the transaction ends, or None."""
    row = await tx.fetchrow(_HOLD, change_id)
    return None if row is None else _change(row)


async def postpone(connection: Transaction, change_id: UUID) -> None:
    """Let all others that are open have their turn first."""
    await connection.execute(_POSTPONE, change_id)


async def advance(
    tx: Transaction, change_id: UUID, position: UUID, *, changed: int = 0, restored: int = 0
) -> None:
    """Note how far a change has come."""
    await tx.execute(_STEP, change_id, position, changed, restored)


async def end(tx: Transaction, change_id: UUID, error: str | None = None) -> str:
    """End a change, in either direction; return its state."""
    return str(await tx.fetchval(_END, change_id, error))


async def undo(tx: Transaction, change_id: UUID) -> bool:
    """Have a change undone; False where it can't be: deletions that have begun, after a week."""
    return bool(await tx.fetchval(_UNDO, change_id, UNDONE_WITHIN))


def _change(row: Any) -> ImageChange:
    values = dict(row)
    values["asked"] = json.loads(values["asked"])
    values["change"] = json.loads(values["change"])
    values["wanted"] = filters.from_json(values.pop("filter"))
    return ImageChange(**values)
