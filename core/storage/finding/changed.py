"""Images and queries that have changed, as those who watch see them, with who may see them."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.delivery.target_health import WAITS
from core.transaction import Transaction

_IMAGES = """
SELECT i.image_id, i.status, i.excluded, i.by_hand, i.open_to_all,
       ARRAY(SELECT owner FROM image_owners o WHERE o.image_id = i.image_id) AS owners,
       jsonb_path_query_array(coalesce(t.tags, '[]'), '$[0 to 2]')::text AS tags,
       coalesce(t.sha256, i.sha256) AS sha256,
       (SELECT p.reason FROM parked_images p WHERE p.image_id = i.image_id) AS waits_for
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.image_id = ANY($1::uuid[])
"""
# Of several webhooks the newest tells: an answer that is asked for again is a new one.
_QUERIES = f"""
SELECT q.query_id, q.owner, q.answer->>'type' AS outcome,
       CASE WHEN q.deleted_at IS NULL THEN q.status ELSE 'deleted' END AS status,
       CASE WHEN d.state = 'leased' THEN 'in_flight'
            WHEN d.state = 'delivered' THEN 'delivered'
            WHEN d.state = 'dead' AND d.reason LIKE 'stopped%' THEN 'stopped'
            WHEN d.state = 'dead' THEN 'given_up'
            WHEN d.attempt > 0 THEN 'will_retry'
            ELSE 'waiting' END AS state,
       coalesce(d.attempt, 0) AS attempts, w.waits_for,
       CASE WHEN d.state = 'due' THEN d.next_at END AS next_at
FROM queries q LEFT JOIN LATERAL (
    SELECT * FROM deliveries w WHERE w.query_id = q.query_id
    ORDER BY w.round DESC, w.created_at DESC LIMIT 1
) d ON true {WAITS}
WHERE q.query_id = ANY($1::uuid[])
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class WatchedImage:
    """An image as it is now.

    Attributes:
        by_hand: whether people set its tags, or added some.
        open_to_all, owners: who may see it.
        tags: the three best.
        sha256: of the bytes that its tags are of, else of those that came.
        waits_for: why its newest arrival is to be tagged apart; None where none waits.
    """

    image_id: UUID
    status: str
    excluded: bool
    by_hand: bool
    open_to_all: bool
    owners: tuple[str, ...]
    tags: tuple[dict[str, Any], ...]
    sha256: bytes | None
    waits_for: str | None

    def is_seen_by(self, owner: str | None) -> bool:
        """Tell whether this owner may see it; None: an administrator."""
        return owner is None or self.open_to_all or owner in self.owners


@dataclass(frozen=True, slots=True)
class WatchedQuery:
    """A query as it is now, with its newest webhook.

    Attributes:
        status: as in the table, or `deleted`.
        state: what comes next: waiting, in_flight, will_retry, given_up, delivered, stopped.
    """

    query_id: UUID
    owner: str | None
    status: str
    outcome: str | None
    state: str
    attempts: int
    next_at: datetime | None
    waits_for: str | None

    def is_seen_by(self, owner: str | None) -> bool:
        """Tell whether this owner may see it; None: an administrator."""
        return owner is None or owner == self.owner


async def images(connection: Transaction, image_ids: Collection[UUID]) -> list[WatchedImage]:
    """Return those of these images that are known; a deleted one with that status."""
    return [
        WatchedImage(
            **{
                **row,
                "owners": tuple(row["owners"]),
                "tags": tuple(json.loads(row["tags"])),
            }
        )
        for row in await connection.fetch(_IMAGES, list(image_ids))
    ]


async def queries(connection: Transaction, query_ids: Collection[UUID]) -> list[WatchedQuery]:
    """Return those of these queries that are known."""
    return [WatchedQuery(**row) for row in await connection.fetch(_QUERIES, list(query_ids))]
