"""Records that were set aside: bytes and headers as they were, and why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from core.storage.stream.outbox import headers_to_json, storable
from core.transaction import Transaction
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Record

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


class SetAside(Protocol):
    """A record that was set aside (satisfied by `core.messaging.ports.DeadLetter`)."""

    @property
    def place(self) -> DeadLetterPlace: ...  # noqa: D102
    @property
    def cluster_id(self) -> str: ...  # noqa: D102
    @property
    def record(self) -> Record: ...  # noqa: D102
    @property
    def timestamp_ms(self) -> int: ...  # noqa: D102


class DeadLetterTable:
    """The table `dead_letters`, as the loop writes it."""

    async def add(self, tx: Transaction, letters: Sequence[SetAside]) -> None:
        """Keep records with their reasons. Cannot be refused by PostgreSQL for their contents."""
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
    """A producer's clock may say anything; what no calendar holds is left out."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC) if timestamp_ms >= 0 else None
    except (OverflowError, ValueError, OSError):
        return None
