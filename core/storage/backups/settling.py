"""A restored database, before anybody uses it: what was true of a moment that is gone is put right.

The processes of that moment are dead, and what they did afterwards is not in these rows.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from core.storage import leases
from core.storage.delivery import deliveries
from core.storage.delivery.deliveries import OPEN_LANES
from core.storage.stream import outbox
from core.transaction import Transaction
from schemas.callback import CallbackRequested
from schemas.record import Record

#: Target and answer of a webhook.
Requested = tuple[str, CallbackRequested]
#: The reason of webhooks that are kept back.
HELD = "held_after_restore"
#: More than were given out between a backup and what ended the archive: a process of that time has
#: none of the restored archive's epochs, and a token of that time names no outbox row of it.
BEYOND = 1_000_000
#: Nobody prunes until then. Bytes that came since the backup, and lie in a folder or a bucket,
#: belong to images that these rows do not know before Kafka's log, which keeps a week, is read.
PRUNED_AFTER = timedelta(days=7)
KEEPER = "restore"

#: The log is read between the statements of one transaction, for as long as that takes.
BEGIN = """
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET statement_timeout = 0;
BEGIN;
"""
# Nobody of the owners died: they were not there. Counts of crashes begin anew.
_PROGRESS = """
UPDATE progress SET epoch = epoch + $1, owner = '', claimed_offset = -1, attempted_offset = -1,
                    isolate_until = -1, crashes = 0, updated_at = now()
"""
_OUTBOX_IDS = """
SELECT setval(ids::regclass, nextval(ids::regclass) + $1)
FROM pg_get_serial_sequence('outbox', 'id') AS ids
"""
# Another log counts its offsets anew: these places name other records there.
_FORGET_LOG = ("DELETE FROM progress", "DELETE FROM outbox_places", "DELETE FROM parked_places")
_UNLEASE = """
UPDATE deliveries SET state = 'due', token = NULL, lease_until = NULL, next_at = now(),
                      attempt = greatest(attempt - 1, attempts_before)
WHERE state = 'leased'
"""
_LANES = f"""
WITH changed AS (
    SELECT target, sender, line, attempt, next_at, state FROM deliveries WHERE state = 'due'
)
{OPEN_LANES}
"""  # noqa: S608 - constants only
_HOLD = """
UPDATE deliveries SET state = 'dead', reason = $1, waits_for = NULL, finished_at = now()
WHERE state = 'due'
"""
# The first answer wins, and these were it. The owner is the one that the row had: no record of a
# query is believed when it names one (`core.storage.queries`).
_ANSWERED = """
INSERT INTO queries (query_id, owner, text, callback_url, options, status, answer, accepted_at,
                     answered_at)
SELECT u.query_id, u.owner, u.text, u.url, jsonb_build_object('payload', u.payload), 'answered',
       u.answer::jsonb, u.at, u.at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::timestamptz[]) AS u (query_id, owner, text, url, payload, answer, at)
ORDER BY u.query_id
ON CONFLICT (query_id) DO UPDATE
    SET status = 'answered', answer = excluded.answer, answered_at = excluded.answered_at
    WHERE queries.status <> 'answered'
"""
_UNPARK = "DELETE FROM parked_queries WHERE query_id = ANY($1::uuid[])"
_OPEN = "SELECT count(*) FROM deliveries WHERE state IN ('due', 'leased')"
_KNOWN = "SELECT count(*) FROM deliveries WHERE delivery_id = ANY($1::uuid[])"


async def settle(tx: Transaction, *, is_log_new: bool) -> None:
    """Put the rows right for a new life of the archive.

    Args:
        tx: a transaction of the restored database, which nobody else uses.
        is_log_new: whether Kafka's log is another one than the rows count in; each group then
            begins at its start.
    """
    await tx.execute(_PROGRESS, BEYOND)
    if is_log_new:
        for statement in _FORGET_LOG:
            await tx.execute(statement)
    await tx.fetchval(_OUTBOX_IDS, BEYOND)
    await tx.execute(_UNLEASE)
    await tx.execute("DELETE FROM lanes")
    await tx.execute(_LANES)
    await leases.take(tx, leases.PRUNING, KEEPER, PRUNED_AFTER.total_seconds())


async def publish_again(tx: Transaction, records: Sequence[Record]) -> None:
    """Let records be published when the archive runs, in their order."""
    await outbox.add(tx, records)


async def keep_answers(tx: Transaction, requested: Mapping[UUID, Requested]) -> int:
    """Write down again what queries were answered since the backup, and their owners.

    Returns how many of the answers were not there.

    Args:
        tx: a transaction of the restored database.
        requested: target and answer of the webhooks that were asked for since, by their ids.
    """
    events = list({event.query_id: event for _, event in requested.values()}.values())
    tag = await tx.execute(
        _ANSWERED,
        [event.query_id for event in events],
        [event.owner for event in events],
        [event.text for event in events],
        [event.url for event in events],
        [event.payload for event in events],
        [
            event.model_copy(update={"owner": None}).model_dump_json(exclude_none=True)
            for event in events
        ],
        [event.answered_at for event in events],
    )
    await tx.execute(_UNPARK, [event.query_id for event in events])
    return int(tag.split()[-1])


async def count_open(connection: Transaction) -> int:
    """Return how many webhooks wait to be sent."""
    waiting: int = await connection.fetchval(_OPEN)
    return waiting


async def count_new(connection: Transaction, requested: Mapping[UUID, Requested]) -> int:
    """Return how many of the webhooks that were asked for since the backup have no row yet."""
    known: int = await connection.fetchval(_KNOWN, list(requested))
    return len(requested) - known


async def schedule(tx: Transaction, requested: Mapping[UUID, Requested]) -> None:
    """Write the rows of these webhooks, which their role then finds there.

    Args:
        tx: a transaction of the restored database.
        requested: target and answer of each, by its id.
    """
    await deliveries.schedule(
        tx, [(webhook, target, event) for webhook, (target, event) in requested.items()]
    )


async def hold(tx: Transaction) -> None:
    """Keep back every webhook that may have been sent since the backup.

    They are given up for the reason `HELD`: asked for again, they go out under their ids.
    """
    await tx.execute(_HOLD, HELD)
    await tx.execute("DELETE FROM lanes")
