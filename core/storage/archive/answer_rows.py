"""Table `image_tags`: a row per tag of images that may be answers, replaced and counted."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.storage.archive.statistics import Counts
from core.transaction import Transaction

_CLEAR = """
DELETE FROM image_tags WHERE image_id = ANY($1::int8[]) RETURNING image_id, label_id, score
"""

_SCORES = """
INSERT INTO image_tags (image_id, score, ts, label_id)
SELECT * FROM unnest($1::int8[], $2::int4[], $3::int4[], $4::int2[])
"""


@dataclass(frozen=True, slots=True)
class StoredTags:
    """One image's tags as they were stored.

    Attributes:
        number: id of the row in `tagged_images`.
        existed: whether it had tags before.
        scores: (label id, score in millionths); none where it is excluded from the answers.
        audiences: for whom it counts (`ownership.audiences`).
    """

    number: int
    ts: int
    existed: bool
    scores: tuple[tuple[int, int], ...]
    audiences: Sequence[str]


async def replace(
    tx: Transaction, stored: Sequence[StoredTags], counts: Counts
) -> dict[int, set[int]]:
    """Put these rows of `image_tags` in place of those that the images have, and count both.

    Returns:
        The labels that each image had.
    """
    had: dict[int, set[int]] = {}
    audiences = {image.number: image.audiences for image in stored}
    for row in await tx.fetch(_CLEAR, list(audiences)):
        seen_by = audiences[row["image_id"]]
        counts.add("tag", str(row["label_id"]), -1, -row["score"], audiences=seen_by)
        had.setdefault(row["image_id"], set()).add(row["label_id"])
    scores = [(image, label_id, score) for image in stored for label_id, score in image.scores]
    for image, label_id, score in scores:
        counts.add("tag", str(label_id), 1, score, audiences=image.audiences)
    await tx.execute(
        _SCORES,
        [image.number for image, _, _ in scores],
        [score for _, _, score in scores],
        [image.ts for image, _, _ in scores],
        [label_id for _, label_id, _ in scores],
    )
    return had
