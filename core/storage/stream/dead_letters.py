"""Dead letters: records with their bytes and headers as they were, and a reason."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from core.offsets import DeadLetter
from core.storage.stream.outbox import headers_to_json, storable
from core.transaction import Transaction
from schemas.topics import Lane

# A folder is announced at each start of who watches or demonstrates it, with what is broken in it.
_ADD = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[], $5::text[], $6::bytea[],
                         $7::text[], $8::bytea[], $9::text[], $10::text[], $11::timestamptz[],
                         $12::bytea[])
        AS l (grp, topic, part, log_offset, cluster_id, key, headers, value, reason, detail, at,
              same)
), told_before AS (
    DELETE FROM dead_letters d USING given g
    WHERE d.same = g.same AND d.replayed_at IS NULL
      AND (d.part, d.log_offset, d.cluster_id) <> (g.part, g.log_offset, g.cluster_id)
)
INSERT INTO dead_letters
    (grp, topic, part, log_offset, cluster_id, key, headers, value, reason, detail, record_at, same)
SELECT grp, topic, part, log_offset, cluster_id, key, headers::jsonb, value, reason, detail, at,
       same
FROM given
ON CONFLICT (grp, topic, part, log_offset, cluster_id) DO NOTHING
"""
MAX_DETAIL_CHARS = 4000
_ARRIVALS = frozenset(lane.topic.name for lane in Lane)


async def add(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Keep records with their reasons; one that is there already stays as it was.

    An arrival that says what an earlier one said, and failed for the same reason, takes its place.
    PostgreSQL cannot refuse them for what is in them: what it cannot hold is replaced.
    """
    if not letters:
        return
    kept = {_same(letter) or letter.place: letter for letter in letters}
    places = [letter.place for letter in kept.values()]
    await tx.execute(
        _ADD,
        [place.group for place in places],
        [place.topic for place in places],
        [place.partition for place in places],
        [place.offset for place in places],
        [letter.cluster_id for letter in kept.values()],
        [letter.record.key for letter in kept.values()],
        [headers_to_json(letter.record.headers) for letter in kept.values()],
        [letter.record.value for letter in kept.values()],
        [place.reason for place in places],
        [storable(place.detail)[:MAX_DETAIL_CHARS] for place in places],
        [_moment(letter.timestamp_ms) for letter in kept.values()],
        [same if isinstance(same, bytes) else None for same in kept],
    )


def _same(letter: DeadLetter) -> bytes | None:
    """Return what two arrivals have in common that tell the same; None: it stands for itself.

    The job that announced it does not count. Bytes that are no JSON never tell the same: a picture
    that was sent twice was sent twice.
    """
    place, record = letter.place, letter.record
    if place.topic not in _ARRIVALS:
        return None
    try:
        told = json.loads(record.value)
        if not isinstance(told, dict) or "uri" not in told:
            return None
        told.pop("job_id", None)
        text = json.dumps(
            [place.group, place.topic, place.reason, (record.key or b"").hex(), told],
            sort_keys=True,
        )
    except (ValueError, RecursionError):  # any bytes may lie on a topic
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _moment(timestamp_ms: int) -> datetime | None:
    """Return a record's timestamp; None where no calendar has it: any producer's clock is kept."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC) if timestamp_ms >= 0 else None
    except (OverflowError, ValueError, OSError):
        return None
