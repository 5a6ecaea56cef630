"""The progress of each consumer group: rows that fence owners and make effects exactly-once.

Every batch moves its partitions' rows in the transaction that writes its effects. A claim raises a
row's epoch, so that a batch which an earlier owner still has in flight finds no row to move.
"""

from collections.abc import Mapping, Sequence

from core.errors import DatabaseAway
from core.offsets import Bid, Claim, Identity, Move, Owner, Standing
from core.storage.stream import promotions
from core.transaction import Transaction
from schemas.record import Partition

_STANDINGS = """
SELECT topic, part, next_offset, cluster_id, topic_id FROM progress
WHERE grp = $1 AND (topic, part) IN (SELECT * FROM unnest($2::text[], $3::int4[]))
"""
_CREATE = """
INSERT INTO progress (grp, topic, part, next_offset, epoch)
SELECT $1, topic, part, log_start, 0
FROM unnest($2::text[], $3::int4[], $4::int8[]) AS bid (topic, part, log_start)
ORDER BY topic, part
ON CONFLICT (grp, topic, part) DO NOTHING
"""
# A death counts only where a record was left to process. In isolation it counts only against the
# record that was being prepared alone; before that, if the partition has not moved since its claim.
_CLAIM = """
WITH bid AS (
    SELECT * FROM unnest($2::text[], $3::int4[], $4::int8[]) AS b (topic, part, log_end)
), locked AS (
    SELECT p.topic, p.part, b.log_end,
           CASE
               WHEN p.owner IN ('', $5) OR p.next_offset >= b.log_end THEN p.crashes
               WHEN p.attempted_offset = p.next_offset THEN p.crashes + 1
               WHEN p.next_offset < p.isolate_until THEN p.crashes
               WHEN p.next_offset = p.claimed_offset THEN p.crashes + 1
               ELSE 0
           END AS crashes
    FROM progress p JOIN bid b ON p.grp = $1 AND p.topic = b.topic AND p.part = b.part
    ORDER BY p.topic, p.part
    FOR UPDATE OF p
)
UPDATE progress p SET
    epoch = p.epoch + 1,
    owner = $5,
    cluster_id = $6,
    topic_id = $7,
    claimed_offset = p.next_offset,
    crashes = l.crashes,
    isolate_until = CASE
        WHEN l.crashes >= $8 AND p.isolate_until <= p.next_offset
            THEN least(p.next_offset + $9, l.log_end)
        ELSE p.isolate_until
    END,
    updated_at = now()
FROM locked l
WHERE p.grp = $1 AND p.topic = l.topic AND p.part = l.part
RETURNING p.topic, p.part, p.next_offset, p.epoch, p.crashes, p.attempted_offset, p.isolate_until
"""
# Rows are locked in order, so that two members cannot deadlock. Whoever waited for a row compares
# its epoch again, since READ COMMITTED rechecks the version that it locked. The owner is compared
# too: a promoted standby that lagged gives out an epoch that the lost primary had given out before.
_ADVANCE = """
WITH wanted AS (
    SELECT * FROM unnest($2::text[], $3::int4[], $4::int8[], $5::int8[], $6::int8[])
        AS w (topic, part, epoch, from_offset, to_offset)
), locked AS (
    SELECT p.topic, p.part, w.to_offset
    FROM progress p JOIN wanted w
        ON p.grp = $1 AND p.topic = w.topic AND p.part = w.part
       AND p.epoch = w.epoch AND p.owner = $8 AND p.next_offset = w.from_offset
    ORDER BY p.topic, p.part
    FOR UPDATE OF p
)
UPDATE progress p SET
    next_offset = l.to_offset,
    crashes = CASE WHEN l.to_offset >= p.isolate_until THEN 0 ELSE least(p.crashes, $7) END,
    updated_at = now()
FROM locked l
WHERE p.grp = $1 AND p.topic = l.topic AND p.part = l.part
RETURNING p.topic, p.part
"""
_ATTEMPT = """
UPDATE progress SET
    attempted_offset = CASE WHEN topic = $3 AND part = $4 THEN $5::int8 ELSE -1 END
WHERE grp = $1 AND owner = $2 AND ((topic = $3 AND part = $4) OR attempted_offset >= 0)
"""
_RELEASE = """
UPDATE progress p SET owner = '', attempted_offset = -1, updated_at = now()
FROM unnest($3::text[], $4::int4[], $5::int8[]) AS r (topic, part, epoch)
WHERE p.grp = $1 AND p.owner = $2 AND p.topic = r.topic AND p.part = r.part AND p.epoch = r.epoch
"""
# The epoch rises, so a consumer that is still running is fenced rather than confused.
_RESET = """
INSERT INTO progress (grp, topic, part, next_offset)
SELECT $1, $2, part, next_offset FROM unnest($3::int4[], $4::int8[]) AS r (part, next_offset)
ON CONFLICT (grp, topic, part) DO UPDATE SET
    next_offset = excluded.next_offset, epoch = progress.epoch + 1, owner = '', cluster_id = '',
    topic_id = '', claimed_offset = -1, attempted_offset = -1, isolate_until = -1, crashes = 0,
    updated_at = now()
"""


async def standings(
    connection: Transaction, group: str, partitions: Sequence[Partition]
) -> dict[Partition, Standing]:
    """Return where these partitions stand; those that the group never claimed are absent."""
    rows = await connection.fetch(_STANDINGS, group, *_columns(partitions))
    return {
        Partition(row["topic"], row["part"]): Standing(
            row["next_offset"], Identity(row["cluster_id"], row["topic_id"])
        )
        for row in rows
    }


async def claim(
    tx: Transaction, owner: Owner, bids: Sequence[Bid], identity: Identity
) -> list[Claim]:
    """Make `owner` the owner of partitions; return their claims, with raised epochs.

    A partition without a row begins at its log's start. Claiming again is harmless.

    Raises:
        DatabaseAway: what the database has forgotten is being brought back from the log first.
    """
    if await tx.fetchval(promotions.UNSETTLED):
        raise DatabaseAway("Kafka's log is being asked what a promoted database has forgotten")
    topics, parts = _columns([bid.partition for bid in bids])
    await tx.execute(_CREATE, owner.group, topics, parts, [bid.log_start for bid in bids])
    rows = await tx.fetch(
        _CLAIM,
        owner.group,
        topics,
        parts,
        [bid.log_end for bid in bids],
        owner.name,
        *identity,
        owner.isolate_after,
        owner.isolate_span,
    )
    return [Claim(Partition(row["topic"], row["part"]), *row[2:]) for row in rows]


async def advance(tx: Transaction, owner: Owner, moves: Sequence[Move]) -> frozenset[Partition]:
    """Lock and move the rows that stand where `moves` say, by our claim; return their partitions.

    A partition that is not in the answer has another owner: its effects must not be written.
    """
    topics, parts = _columns([move.partition for move in moves])
    rows = await tx.fetch(
        _ADVANCE,
        owner.group,
        topics,
        parts,
        [move.epoch for move in moves],
        [move.from_offset for move in moves],
        [move.to_offset for move in moves],
        owner.isolate_after,
        owner.name,
    )
    return frozenset(Partition(row["topic"], row["part"]) for row in rows)


async def attempt(connection: Transaction, owner: Owner, partition: Partition, offset: int) -> None:
    """Note that this record, and no other of the owner's, is about to be prepared."""
    await connection.execute(_ATTEMPT, owner.group, owner.name, *partition, offset)


async def release(connection: Transaction, owner: Owner, epochs: Mapping[Partition, int]) -> None:
    """Leave these partitions without an owner, except those that someone else has claimed."""
    topics, parts = _columns(list(epochs))
    await connection.execute(
        _RELEASE, owner.group, owner.name, topics, parts, list(epochs.values())
    )


async def reset(
    connection: Transaction, *, group: str, topic: str, offsets: Mapping[int, int]
) -> None:
    """Set where a group goes on, by partition number, and forget which log that was counted in.

    For a topic that was made anew or a cluster that was replaced, by the operator's explicit wish.
    A consumer that runs meanwhile is fenced and claims again.
    """
    await connection.execute(_RESET, group, topic, list(offsets), list(offsets.values()))


def _columns(partitions: Sequence[Partition]) -> tuple[list[str], list[int]]:
    return [p.topic for p in partitions], [p.number for p in partitions]
