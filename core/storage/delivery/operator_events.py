"""What happens to the archive itself, found in the tables that say so, and told once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from core.transaction import Transaction
from schemas.operator_event import OperatorEventType, OperatorNotice

#: What happened longer ago is told to nobody any more. Rows are kept for longer than this
#: (`consumers.upkeep.pruning`), or it would be told twice.
TOLD_WITHIN = "1 day"
#: What was not seen for so long had ended: seen again, it is told again.
ENDED_AFTER = "10 minutes"
#: A stage grows whose oldest piece has waited for so long, and longer than ten minutes ago. What
#: may wait (loads, slow pictures) is left out, as in `ingress.live.judging`.
GROWN_S = 300
_LASTING = "('partition.halted', 'backlog.grows')"

# In the order of the key, as others who write these rows do. What happened once and was told is
# left out: a conflict locks its row, and each look would write all rows of a day.
_NOTE = f"""
WITH found AS (
    SELECT 'target.disabled' AS type, concat_ws('/', e.id, e.target) AS subject, e.at,
           jsonb_build_object('target', e.target, 'actor', e.actor, 'reason', e.reason) AS data
    FROM target_events e
    WHERE e.event = 'disabled' AND e.at > now() - interval '{TOLD_WITHIN}'
    UNION ALL
    SELECT 'job.finished', j.job_id::text, j.finished_at,
           jsonb_build_object('job_id', j.job_id, 'kind', j.kind, 'owner', j.owner, 'root', j.root,
                              'directory', j.directory, 'state', j.state, 'total', j.total,
                              'announced', j.announced, 'skipped', j.skipped, 'error', j.error)
    FROM jobs j WHERE j.finished_at > now() - interval '{TOLD_WITHIN}'
    UNION ALL
    SELECT 'database.forgot', p.id::text, p.settled_at,
           jsonb_build_object('missing_since', p.missing_since, 'missing_until', p.noted_at,
                              'answers_kept', p.answers_kept,
                              'images', count(f.id) FILTER (WHERE f.kind = 'image'),
                              'queries', count(f.id) FILTER (WHERE f.kind = 'query'))
    FROM promotions p LEFT JOIN forgotten f ON f.promotion = p.id
    WHERE p.missing_since IS NOT NULL AND p.settled_at > now() - interval '{TOLD_WITHIN}'
    GROUP BY p.id
    UNION ALL
    SELECT 'partition.halted',
           concat_ws('/', h.role, x->>'topic', x->>'partition', x->>'reason'),
           now(), min(x::text)::jsonb || jsonb_build_object('group', replace(h.role, '_', '-'))
    FROM heartbeats h
    CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(h.about->'halted') = 'array'
                                                 THEN h.about->'halted' ELSE '[]' END) x
    WHERE h.stopped_at IS NULL AND h.seen_at > now() - interval '20 seconds'
    GROUP BY h.role, 2
    UNION ALL
    SELECT 'backlog.grows', t.stage, now(),
           jsonb_build_object('stage', t.stage, 'oldest_waiting_s', round(t.lately::numeric, 1))
    FROM (
        SELECT stage, max(oldest_s) FILTER (WHERE at > now() - interval '90 seconds') AS lately,
               max(oldest_s) FILTER (WHERE at BETWEEN now() - interval '12 minutes'
                                               AND now() - interval '10 minutes') AS before
        FROM stage_trends WHERE stage NOT IN ('tagging_bulk', 'parked_images') GROUP BY stage
    ) t
    WHERE t.lately > {GROWN_S} AND t.lately > coalesce(t.before, 0)
), noted AS (
    INSERT INTO operator_events AS o (type, subject, at, event_id)
    SELECT type, subject, at,
           md5(concat_ws('/', type, subject, extract(epoch FROM at)))::uuid
    FROM found f
    WHERE type IN {_LASTING} OR NOT EXISTS (
        SELECT FROM operator_events e WHERE (e.type, e.subject) = (f.type, f.subject))
    ORDER BY type, subject
    ON CONFLICT (type, subject) DO UPDATE SET
        seen_at = now(),
        event_id = CASE WHEN o.seen_at < now() - interval '{ENDED_AFTER}'
                        THEN excluded.event_id ELSE o.event_id END,
        at = CASE WHEN o.seen_at < now() - interval '{ENDED_AFTER}' THEN excluded.at ELSE o.at END,
        told_in = CASE WHEN o.seen_at < now() - interval '{ENDED_AFTER}'
                       THEN pg_current_xact_id() ELSE o.told_in END
    WHERE o.type IN {_LASTING}
    RETURNING o.type, o.subject, o.event_id, o.at, o.told_in = pg_current_xact_id() AS is_new
)
SELECT n.event_id, n.type, n.at, f.data::text AS data
FROM noted n JOIN found f USING (type, subject) WHERE n.is_new ORDER BY n.at, n.event_id
"""  # noqa: S608 - constants only
_LISTENERS = """
SELECT endpoint_id, owner, url, created_at FROM endpoints
WHERE operator_events ORDER BY endpoint_id FOR KEY SHARE
"""
_HAVE_LISTENERS = "SELECT EXISTS (SELECT FROM endpoints WHERE operator_events)"

#: Parameters: the age, and how many at most.
PRUNE = """
DELETE FROM operator_events WHERE (type, subject) IN (
    SELECT type, subject FROM operator_events WHERE seen_at < now() - $1::interval LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class OperatorListener:
    """An endpoint that is told of operator events, from when it was registered on."""

    endpoint_id: UUID
    owner: str
    url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Happening:
    """An operator event that nobody was told of yet."""

    event_id: UUID
    type: OperatorEventType
    at: datetime
    data: dict[str, Any]

    def notice(self, listener: OperatorListener) -> OperatorNotice:
        """Return the webhook for an endpoint."""
        return OperatorNotice(
            operator_event_id=self.event_id,
            webhook_id=uuid5(self.event_id, str(listener.endpoint_id)),
            type=self.type,
            url=listener.url,
            owner=listener.owner,
            happened_at=self.at,
            data=self.data,
        )


async def have_listeners(connection: Transaction) -> bool:
    """Tell whether anybody wants to be told."""
    return bool(await connection.fetchval(_HAVE_LISTENERS))


async def listeners(tx: Transaction) -> Sequence[OperatorListener]:
    """Return who wants to be told; none of them is removed before the transaction ends."""
    return [OperatorListener(**row) for row in await tx.fetch(_LISTENERS)]


async def note(tx: Transaction) -> Sequence[Happening]:
    """Note what has happened or goes on, and return what is new, the oldest first.

    Whoever calls it must put the webhooks on the schedule in the same transaction: then each is
    there once, whatever dies between.
    """
    return [
        Happening(
            row["event_id"], OperatorEventType(row["type"]), row["at"], json.loads(row["data"])
        )
        for row in await tx.fetch(_NOTE)
    ]
