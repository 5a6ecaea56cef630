"""Dead letters: records with their bytes and headers as they were, and a reason."""

from collections.abc import Sequence
from datetime import UTC, datetime

from core.offsets import DeadLetter
from core.storage.stream.outbox import headers_to_json, storable
from core.transaction import Transaction

_ADD = """
INSERT INTO dead_letters
    (grp, topic, part, log_offset, cluster_id, key, headers, value, reason, detail, record_at)
SELECT grp, topic, part, log_offset, cluster_id, key, headers::jsonb, value, reason, detail, at
FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[], $5::text[], $6::bytea[], $7::text[],
            $8::bytea[], $9::text[], $10::text[], $11::timestamptz[])
    AS l (grp, topic, part, log_offset, cluster_id, key, headers, value, reason, detail, at)
ON CONFLICT (grp, topic, part, log_offset, cluster_id) DO NOTHING
"""
MAX_DETAIL_CHARS = 4000


async def add(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Keep records with their reasons; one that is there already stays as it was.

    PostgreSQL cannot refuse them for what is in them: what it cannot hold is replaced.
    """
    if not letters:
        return
    places = [letter.place for letter in letters]
    await tx.execute(
        _ADD,
        [place.group for place in places],
        [place.topic for place in places],
        [place.partition for place in places],
        [place.offset for place in places],
        [letter.cluster_id for letter in letters],
        [letter.record.key for letter in letters],
        [headers_to_json(letter.record.headers) for letter in letters],
        [letter.record.value for letter in letters],
        [place.reason for place in places],
        [storable(place.detail)[:MAX_DETAIL_CHARS] for place in places],
        [_moment(letter.timestamp_ms) for letter in letters],
    )


def _moment(timestamp_ms: int) -> datetime | None:
    """Return a record's timestamp; None where no calendar has it: any producer's clock is kept."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC) if timestamp_ms >= 0 else None
    except (OverflowError, ValueError, OSError):
        return None
