"""After a promotion that forgot commits: what Kafka's log testifies is brought back or listed.

Until that is done no group claims a partition, and no parked query is answered: an answer that was
given, and may have been delivered, comes before any other of the same query. What the log asks for
beyond that is done by the groups themselves, which read it again from where the database stands.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from consumers.upkeep.requested import requested
from core.errors import PermanentError
from core.messaging.cloudevents import decode
from core.messaging.formats.structured import in_binary_mode
from core.messaging.kafka import reading
from core.messaging.kafka.log_ends import log_bounds
from core.settings import KafkaSettings
from core.storage.backups import settling
from core.storage.backups.snapshots import standings
from core.storage.stream import promotions
from core.transaction import Database, Transaction
from schemas.image import ImageArrived, image_id_of
from schemas.query import QuerySubmitted
from schemas.record import Partition, Record
from schemas.topics import CALLBACKS_REQUESTED, GROUPS, IMAGES_ARRIVED, QUERIES_SUBMITTED, Topic

log = structlog.get_logger(__name__)

AT_ONCE = 500
NO_BYTES = "announced, and its bytes went with its row: to be uploaded again"
NO_OWNER = "accepted, and its owner went with its row: answered under the instance's secret"
_ASKED = (CALLBACKS_REQUESTED, IMAGES_ARRIVED, QUERIES_SUBMITTED)
Stretches = dict[Partition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Recollecting:
    """Asks Kafka's log once behind each such promotion.

    Attributes:
        keeps_blobs: whether the bytes of uploads are rows, and went with them.
    """

    database: Database
    kafka: KafkaSettings
    keeps_blobs: bool

    async def is_needed(self, connection: Transaction) -> bool:
        """Return whether a promotion is not settled."""
        return await promotions.are_unsettled(connection)

    async def step(self) -> bool:
        """Settle; return False.

        Raises:
            TransientError: PostgreSQL or Kafka is away.
        """
        async with self.database.connection() as connection:
            stands = await standings(connection)
        ahead = await self._ahead({key: one.next_offset for key, one in stands.items()})
        async with self.database.transaction() as tx:
            if not await promotions.lock(tx):
                return False
            # The log is read between the statements, for as long as that takes.
            await tx.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await tx.execute("SET LOCAL transaction_timeout = 0")
            kept = await self._keep_answers(tx, ahead[CALLBACKS_REQUESTED.name])
            images = await self._images(tx, ahead[IMAGES_ARRIVED.name])
            queries = await self._queries(tx, ahead[QUERIES_SUBMITTED.name])
            await promotions.settle(tx, kept)
        log.warning(
            "history_recollected", answers_kept=kept, images_lost=images, queries_orphaned=queries
        )
        return False

    async def _ahead(self, stands: Mapping[tuple[str, Partition], int]) -> dict[str, Stretches]:
        """Return what lies ahead of the groups, by topic."""
        found: dict[str, Stretches] = {}
        for group, topic in GROUPS.items():
            if topic in _ASKED:
                found[topic.name] = await self._stretches(group, topic, stands)
        return found

    async def _stretches(
        self, group: str, topic: Topic, stands: Mapping[tuple[str, Partition], int]
    ) -> Stretches:
        stretches = {}
        for number, bounds in (await log_bounds(self.kafka, topic)).items():
            partition = Partition(topic.name, number)
            at = max(bounds.start, stands.get((group, partition), bounds.start))
            stretches[partition] = (at, bounds.stable)
        return stretches

    async def _records(self, wanted: Stretches) -> AsyncIterator[Record]:
        async for _, _, record in reading.read(self.kafka, wanted):
            yield record

    async def _keep_answers(self, tx: Transaction, wanted: Stretches) -> int:
        kept = 0
        async for portion in requested(self._records(wanted)):
            kept += await settling.keep_answers(tx, portion)
        return kept

    async def _images(self, tx: Transaction, wanted: Stretches) -> int:
        """List uploads whose bytes are gone."""
        if not self.keeps_blobs:
            return 0
        hashes: dict[UUID, str] = {}
        async for record in self._records(wanted):
            uri = _uri_of(record)
            if uri.startswith("blob:"):
                hashes[image_id_of(uri)] = uri.removeprefix("blob:")
        gone = await promotions.unknown(tx, "image", list(hashes))
        kept = await promotions.with_bytes(tx, [hashes[one] for one in gone])
        return await _list(tx, "image", [one for one in gone if hashes[one] not in kept], NO_BYTES)

    async def _queries(self, tx: Transaction, wanted: Stretches) -> int:
        """List queries that came by HTTP, whose owner only their row told for sure."""
        asked = [
            event.query_id
            async for record in self._records(wanted)
            if (event := _query_of(record)) is not None and event.owner and event.query_id
        ]
        return await _list(
            tx, "query", await promotions.unknown(tx, "query", list(dict.fromkeys(asked))), NO_OWNER
        )


async def _list(tx: Transaction, kind: str, ids: Sequence[UUID], detail: str) -> int:
    for at in range(0, len(ids), AT_ONCE):
        await promotions.note(tx, kind, ids[at : at + AT_ONCE], detail)
    return len(ids)


def _uri_of(record: Record) -> str:
    """Return the URI of an arrival; empty where the image is in the record, or it is none."""
    try:
        return decode(IMAGES_ARRIVED, in_binary_mode(record), ImageArrived).uri
    except PermanentError:
        return ""


def _query_of(record: Record) -> QuerySubmitted | None:
    try:
        return decode(QUERIES_SUBMITTED, in_binary_mode(record), QuerySubmitted)
    except PermanentError:
        return None
