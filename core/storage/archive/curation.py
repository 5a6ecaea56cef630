"""What people decide about single images: tags set by hand, images that are never an answer.

Both stand in `images`, so that they outlive every tagging, with who decided and when.
`image_tags` follows at once, in the same transaction.
"""

from collections.abc import Sequence
from uuid import UUID

from core.storage import labels
from core.storage.archive import following, image_tags
from core.storage.deciding.decisions import CHANGES_TAGS, tags_json
from core.tags import TagScore
from core.transaction import Transaction

# Tombstones are not changed: a deleted image that comes back starts without manual edits.
_EXCLUDE = """
UPDATE images SET excluded = $2, decided_by = $3, decided_at = now(), updated_at = now()
WHERE image_id = $1 AND status <> 'deleted'
"""
# What a person excludes or includes itself is no decision about duplicates any more: it stays.
_RELEASE = """
UPDATE duplicate_decisions SET did_exclude = false WHERE loser = ANY($1::uuid[]) AND did_exclude
"""
_HAND_TAGS = """
UPDATE images SET hand_tags = $2::jsonb, decided_by = $3, decided_at = now(), updated_at = now()
WHERE image_id = $1 AND status <> 'deleted'
"""
_NO_TAGS = """
UPDATE images SET hand_tags = NULL, rejected_tags = '{}', added_tags = '{}', decided_by = $2,
                  decided_at = now(), updated_at = now()
WHERE image_id = $1 AND status <> 'deleted'
"""
_SHOW = f"""
UPDATE tagged_images t SET
    tags = shown_tags(coalesce(t.model_tags, t.tags), i.hand_tags, i.rejected_tags, i.added_tags),
    model_tags = CASE WHEN {CHANGES_TAGS} THEN coalesce(t.model_tags, t.tags) END,
    updated_at = now()
FROM images i WHERE i.image_id = t.image_id AND t.image_id = ANY($1::uuid[])
"""  # noqa: S608 - constants only


async def show(tx: Transaction, image_ids: Sequence[UUID]) -> None:
    """Show the tags that follow from what was decided about these images, which are locked."""
    await tx.execute(_SHOW, list(image_ids))


async def exclude(
    tx: Transaction, image_id: UUID, *, excluded: bool, by: str | None = None
) -> None:
    """Exclude an image from all answers, or include it again; it stays in the archive."""
    await image_tags.lock(tx, [image_id])
    await release(tx, [image_id])
    await exclude_for(tx, image_id, excluded=excluded, by=by)


async def release(tx: Transaction, image_ids: Sequence[UUID]) -> None:
    """Let decisions about duplicates have no say in whether these locked images are excluded."""
    await tx.execute(_RELEASE, list(image_ids))


async def exclude_for(tx: Transaction, image_id: UUID, *, excluded: bool, by: str | None) -> None:
    """Exclude or include a locked image for a decision about it and another one."""
    await tx.execute(_EXCLUDE, image_id, excluded, by)
    await following.follow_images(tx, [image_id])


async def set_tags(
    tx: Transaction, image_id: UUID, tags: Sequence[TagScore], *, by: str | None = None
) -> None:
    """Show these tags instead of the model's, also after later tagging.

    Raises:
        RecordRefused: a new label would be one too many.
    """
    # The image's rows first and the labels' lock second: the order in which all take them.
    await image_tags.lock(tx, [image_id])
    await labels.ensure(tx, [tag.tag for tag in tags])
    spelling = await labels.spelled(tx, [tag.tag for tag in tags])
    shown = [TagScore(spelling[tag.tag], tag.score) for tag in tags]
    await tx.execute(_HAND_TAGS, image_id, tags_json(shown), by)
    await show(tx, [image_id])
    await following.follow_images(tx, [image_id])


async def clear_tags(tx: Transaction, image_id: UUID, *, by: str | None = None) -> None:
    """Show the model's tags again, all of them and none besides."""
    await image_tags.lock(tx, [image_id])
    await tx.execute(_NO_TAGS, image_id, by)
    await show(tx, [image_id])
    await following.follow_images(tx, [image_id])
