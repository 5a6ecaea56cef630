"""Parked images: arrivals that others must not wait for, with their records.

Rows of `images` are locked before those of `parked_images`, everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from core.offsets import Place
from core.storage.archive import keeping
from core.storage.archive.images import COMES_BACK, PATH_COMES_BACK
from core.storage.archive.ownership import NamedOwner
from core.storage.stream.outbox import headers_from_json, headers_to_json
from core.tags import Made, Slowness
from core.transaction import Transaction
from schemas.record import Record

# `updated_at` stays: whoever waits for the tags of an image that had some looks at it.
_ACCEPT = f"""
INSERT INTO images (image_id, uri, path, open_to_all, job_id, sha256, status)
SELECT u.image_id, u.uri, u.path, u.owner IS NULL, u.job_id, u.sha256, 'accepted'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::bytea[], $7::bool[])
     AS u (image_id, uri, path, owner, job_id, sha256, scanned)
-- A file that was deleted and that a scan found again stays deleted if its bytes are the same: that
-- is seen once they are read.
WHERE NOT (u.scanned AND EXISTS (SELECT FROM images d
                                 WHERE d.image_id = u.image_id AND d.status = 'deleted'))
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    status = CASE WHEN images.status IN ('deleted', 'missing') THEN 'accepted'
                  ELSE images.status END,
    sha256 = coalesce(images.sha256, excluded.sha256),
    job_id = coalesce(excluded.job_id, images.job_id),
    {PATH_COMES_BACK}, {COMES_BACK}
RETURNING {keeping.COUNTED}
"""  # noqa: S608 - constants only
# The arrival made later wins, as `core.tags.Made` says; of two that were made alike the one that
# comes later. An image keeps its turn.
_PARK = """
INSERT INTO parked_images (image_id, owner, reason, event_time, event_is_bulk, topic, part,
                           log_offset, cluster_id, record_ms, key, headers, value)
SELECT u.image_id, u.owner, u.reason, u.event_time, u.is_bulk, u.topic, u.part, u.log_offset,
       coalesce((SELECT max(p.cluster_id) FROM progress p
                 WHERE p.topic = u.topic AND p.part = u.part), ''),
       u.record_ms, u.key, u.headers::jsonb, u.value
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::int4[],
            $7::int8[], $8::int8[], $9::bytea[], $10::text[], $11::bytea[], $12::bool[])
     AS u (image_id, owner, reason, event_time, topic, part, log_offset, record_ms, key, headers,
           value, is_bulk)
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    owner = excluded.owner, reason = excluded.reason, event_time = excluded.event_time,
    event_is_bulk = excluded.event_is_bulk,
    topic = excluded.topic, part = excluded.part, log_offset = excluded.log_offset,
    cluster_id = excluded.cluster_id, record_ms = excluded.record_ms, key = excluded.key,
    headers = excluded.headers, value = excluded.value, attempts = 0, due_at = now(), token = NULL
WHERE (parked_images.event_time, NOT parked_images.event_is_bulk)
      <= (excluded.event_time, NOT excluded.event_is_bulk)
"""
_PLACE = """
INSERT INTO parked_places (image_id, topic, part, log_offset)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::int8[])
ON CONFLICT (topic, part, log_offset) DO UPDATE SET image_id = excluded.image_id
"""
_SUPERSEDE = """
DELETE FROM parked_images p
USING unnest($1::uuid[], $2::timestamptz[], $3::bool[]) AS u (image_id, event_time, is_fresh)
WHERE p.image_id = u.image_id
  AND (p.event_time, NOT p.event_is_bulk) <= (u.event_time, u.is_fresh)
"""
# Owners take turns in the order of their names. Of one owner the fresh come before the bulk, as
# everywhere.
_CLAIM = """
UPDATE parked_images SET attempts = attempts + 1, due_at = now() + $3::interval, token = $4
WHERE image_id = (
    SELECT image_id FROM parked_images
    WHERE {which} AND coalesce(owner, '') {after} AND due_at <= now()
    ORDER BY coalesce(owner, ''), {order}, parked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING image_id, reason, coalesce(owner, '') AS turn, topic, part, log_offset, cluster_id,
          record_ms, key, headers, value, attempts,
          extract(epoch FROM now() - parked_at)::float8 AS waited_s
"""
_UNTRIED = {"which": "reason = $1 AND attempts = 0", "order": "event_is_bulk"}
_SUSPECT = {"which": "$1::text IS NULL AND attempts > 0", "order": "attempts"}
_CLAIMS = {
    is_suspect: [_CLAIM.format(**words, after=after) for after in ("> $2", "<= $2")]
    for is_suspect, words in ((False, _UNTRIED), (True, _SUSPECT))
}
_HOLD_IMAGE = "SELECT FROM images WHERE image_id = $1 FOR NO KEY UPDATE"
_HOLD = "SELECT true FROM parked_images WHERE image_id = $1 AND token = $2 FOR UPDATE"
_PROLONG = """
UPDATE parked_images SET due_at = now() + $3::interval WHERE image_id = $1 AND token = $2
RETURNING true
"""
_RELEASE = """
UPDATE parked_images SET attempts = attempts - 1, due_at = now() + $3::interval, token = NULL
WHERE image_id = $1 AND token = $2
"""
_FINISH = "DELETE FROM parked_images WHERE image_id = $1 AND token = $2"
_WAITING = """
SELECT reason, count(*) AS images,
       extract(epoch FROM now() - min(parked_at))::float8 AS oldest_s
FROM parked_images GROUP BY reason
"""


@dataclass(frozen=True, slots=True)
class ParkedImage:
    """An arrival to be parked.

    Attributes:
        sha256: of bytes that are kept for it; None where they lie elsewhere.
        record: as it was, for its dead letter.
        record_ms: the record's timestamp.
        scanned: a scan found the file.
    """

    image_id: UUID
    uri: str
    path: str
    owner: str | None
    job_id: UUID | None
    sha256: bytes | None
    why: Slowness
    made: Made
    place: Place
    record: Record
    record_ms: int
    scanned: bool = False


@dataclass(frozen=True, slots=True)
class ClaimedImage:
    """A parked arrival that is this process's for a while.

    Attributes:
        token: of the lease: without it nothing of this arrival may be written.
        why: it is not tagged with the others.
        turn: the owner whose turn it was.
        attempts: how often it was claimed, this time included.
        waited_s: since it was parked.
    """

    image_id: UUID
    token: UUID
    why: Slowness
    turn: str
    place: Place
    cluster_id: str
    record: Record
    record_ms: int
    attempts: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many images wait for one reason, and for how long the oldest has."""

    images: int
    oldest_s: float


async def park(
    tx: Transaction, parked: Sequence[ParkedImage], places: Sequence[tuple[UUID, Place]]
) -> None:
    """Park arrivals, of each image one; a later arrival stays in place of an earlier one.

    An image that nobody has heard of is accepted; one that has tags keeps them meanwhile.

    Args:
        tx: the transaction.
        parked: of each image one.
        places: where arrivals of these images lie in the log; whoever waits for one waits on.
    """
    await keeping.keep(tx)
    await _accept(tx, parked)
    await tx.execute(
        _PARK,
        [image.image_id for image in parked],
        [image.owner for image in parked],
        [image.why.value for image in parked],
        [image.made.at for image in parked],
        [image.place.topic for image in parked],
        [image.place.partition for image in parked],
        [image.place.offset for image in parked],
        [image.record_ms for image in parked],
        [image.record.key for image in parked],
        [headers_to_json(image.record.headers) for image in parked],
        [image.record.value for image in parked],
        [not image.made.is_fresh for image in parked],
    )
    await tx.execute(
        _PLACE,
        [image_id for image_id, _ in places],
        [place.topic for _, place in places],
        [place.partition for _, place in places],
        [place.offset for _, place in places],
    )


async def _accept(tx: Transaction, parked: Sequence[ParkedImage]) -> None:
    """Write the images' own rows, with their owners and jobs."""
    rows = await tx.fetch(
        _ACCEPT,
        [image.image_id for image in parked],
        [image.uri for image in parked],
        [image.path for image in parked],
        [image.owner for image in parked],
        [image.job_id for image in parked],
        [image.sha256 for image in parked],
        [image.scanned for image in parked],
    )
    await keeping.note_arrivals(
        tx, rows, [NamedOwner(image.image_id, image.owner, image.job_id) for image in parked]
    )


async def supersede(tx: Transaction, done: Sequence[tuple[UUID, Made]]) -> None:
    """Forget the parked arrivals of these images that were made no later than these."""
    await tx.execute(
        _SUPERSEDE,
        [image_id for image_id, _ in done],
        [made.at for _, made in done],
        [made.is_fresh for _, made in done],
    )


async def claim(
    connection: Transaction, why: Slowness | None, *, after: str, lease_s: float
) -> ClaimedImage | None:
    """Take an arrival of the owner whose turn comes after that of `after`; None: there is none.

    Args:
        why: of those that nobody has tried; None: of the suspects, which were under way when a
            process ended, whatever they are parked for.
    """
    token, lease = uuid4(), timedelta(seconds=lease_s)
    reason = None if why is None else why.value
    for statement in _CLAIMS[why is None]:
        row = await connection.fetchrow(statement, reason, after, lease, token)
        if row is not None:
            return ClaimedImage(
                image_id=row["image_id"],
                token=token,
                why=Slowness(row["reason"]),
                turn=row["turn"],
                place=Place(row["topic"], row["part"], row["log_offset"]),
                cluster_id=row["cluster_id"],
                record=Record(
                    row["topic"], row["key"], headers_from_json(row["headers"]), row["value"]
                ),
                record_ms=row["record_ms"],
                attempts=row["attempts"],
                waited_s=row["waited_s"],
            )
    return None


async def hold(tx: Transaction, claimed: ClaimedImage) -> bool:
    """Return whether the claim still stands, and let it stand until the transaction ends.

    False after its lease passed to another process, a later arrival, or a deletion.
    """
    await tx.execute(_HOLD_IMAGE, claimed.image_id)
    return await tx.fetchval(_HOLD, claimed.image_id, claimed.token) is not None


async def prolong(connection: Transaction, claimed: ClaimedImage, lease_s: float) -> bool:
    """Hold the claim for so many seconds more; return whether it still stood."""
    lease = timedelta(seconds=lease_s)
    row = await connection.fetchval(_PROLONG, claimed.image_id, claimed.token, lease)
    return row is not None


async def release(connection: Transaction, claimed: ClaimedImage, after_s: float) -> None:
    """Undo a claim, as if it had not been made; the arrival may be claimed again after a while."""
    pause = timedelta(seconds=after_s)
    await connection.execute(_RELEASE, claimed.image_id, claimed.token, pause)


async def finish(tx: Transaction, claimed: ClaimedImage) -> None:
    """Forget an arrival whose effects `tx` writes."""
    await tx.execute(_FINISH, claimed.image_id, claimed.token)


async def waiting(connection: Transaction) -> dict[Slowness, Waiting]:
    """Return how many images wait, by reason; reasons for which none does are absent."""
    rows = await connection.fetch(_WAITING)
    return {Slowness(row["reason"]): Waiting(row["images"], row["oldest_s"]) for row in rows}
