"""The image with the greatest sum of matched tag confidences: exact SQL, the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.storage.best import noted
from core.transaction import Transaction


def terms(number: str, label_ids: str, tags: str = "image_tags") -> str:
    """Return the SQL of the columns `labels` and `scores`: an image's confidences for some labels.

    Of every way to find an image it is this that explains it: the scores add up to its sum.

    Args:
        number: the image's id in `tagged_images`.
        label_ids: the parameter with the labels, an `int2[]`.
        tags: the relation to read.
    """
    chosen = f"FROM {tags} x WHERE x.image_id = {number} AND x.label_id = ANY({label_ids})"
    return (
        f"ARRAY(SELECT x.label_id {chosen} ORDER BY x.label_id) AS labels,"
        f" ARRAY(SELECT x.score {chosen} ORDER BY x.label_id) AS scores"
    )


_BEST = f"""
WITH best AS (
    SELECT image_id, sum(score) AS score, max(ts) AS ts
    FROM {{tags}}
    WHERE label_id = ANY($1::int2[]) AND ts >= $3::int4 AND ts <= $4::int4
    GROUP BY image_id
    HAVING sum(score) >= $5::int8
    ORDER BY 2 DESC, 3 DESC, 1 DESC
    LIMIT $2
)
SELECT t.image_id, best.score, {terms("best.image_id", "$1::int2[]", "{tags}")}
FROM best JOIN tagged_images t ON t.id = best.image_id
ORDER BY best.score DESC, best.ts DESC, best.image_id DESC
"""  # noqa: S608 - constants only
_EXPLAIN = """
SELECT t.id, t.image_id, x.labels, x.scores FROM tagged_images t CROSS JOIN LATERAL (
    SELECT array_agg(label_id) AS labels, array_agg(score) AS scores
    FROM image_tags WHERE image_id = t.id) AS x
WHERE t.id = ANY($1::int8[]) AND x.labels IS NOT NULL
"""
INT4_MIN, INT4_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class RankedImage:
    """An image with the sum of its matched confidences, in millionths, and each of them."""

    image_id: UUID
    score: int
    by_label: dict[int, int]


@dataclass(frozen=True, slots=True)
class Explained:
    """An image with all of its scores, in millionths."""

    image_id: UUID
    scores: dict[int, int]


@dataclass(frozen=True, slots=True)
class Filters:
    """What narrows an answer down; the default narrows nothing.

    Attributes:
        min_score: least sum, in millionths.
        ts_from: least recency; `ts_to` the greatest.
    """

    top_n: int = 1
    min_score: int = 1
    ts_from: int = INT4_MIN
    ts_to: int = INT4_MAX


async def best(
    connection: Transaction, label_ids: Sequence[int], filters: Filters
) -> list[RankedImage]:
    """Return the best images for a set of labels: greatest sum, then newest, then greatest id."""
    if not label_ids:
        return []
    rows = await connection.fetch(
        _BEST.format(tags=await noted.table(connection)),
        sorted(set(label_ids)),
        filters.top_n,
        filters.ts_from,
        filters.ts_to,
        max(1, filters.min_score),
    )
    return [
        RankedImage(
            row["image_id"],
            int(row["score"]),
            dict(zip(row["labels"], row["scores"], strict=True)),
        )
        for row in rows
    ]


async def explain(connection: Transaction, numbers: Sequence[int]) -> dict[int, Explained]:
    """Return id and scores of images, by their number in `tagged_images`; no tags: absent."""
    rows = await connection.fetch(_EXPLAIN, list(numbers))
    return {
        row["id"]: Explained(row["image_id"], dict(zip(row["labels"], row["scores"], strict=True)))
        for row in rows
    }
