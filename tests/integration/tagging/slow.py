"""An archive whose decoder postpones what its bytes call slow, with the lane that tags it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from consumers.tagging.adapters import PostgresTags
from consumers.tagging.arrivals import Arrival, decode_arrival
from consumers.tagging.labelled_tagger import LabelledTagger
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.role import TaggingRole
from consumers.tagging.slow_lane import SlowLane
from core.messaging.role import Outcome, Received
from core.offsets import OutboxRow
from core.storage.pool import Pool
from core.storage.stream import dead_letters, outbox
from core.tags import Slowness
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from core.vision.tagger import ClipTagger
from schemas.image import ImageTagged
from schemas.record import Partition, Record
from schemas.topics import IMAGES_ARRIVED, Topic
from tests.fakes.vision import HashModel, PatientDecoder, PromptDecoder
from tests.integration.tagging.archive import NOW, OPTIONS, Archive

HEAD = b"\xff\xd8\xff\xe0"
SLOW = HEAD + b"slow"
BAD = SLOW + b" and bad"


@dataclass
class KeptOutbox:
    """An outbox in PostgreSQL that publishes nothing."""

    published: list[OutboxRow] = field(default_factory=list)

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        return await outbox.add(tx, records)

    async def publish(self, rows: Sequence[OutboxRow]) -> None:
        self.published += rows

    def events(self) -> list[ImageTagged]:
        return [
            ImageTagged.model_validate_json(row.record.value)
            for row in self.published
            if not row.record.topic.endswith(".dlq")
        ]


@dataclass
class SlowArchive:
    """The tagging role, and its slow lane.

    Attributes:
        offset: of the next record.
    """

    pool: Pool
    archive: Archive
    lane: SlowLane
    suspects: SlowLane
    decoder: PatientDecoder
    sent: KeptOutbox
    offset: int = 0

    async def arrive(
        self,
        *uris: str,
        at_s: float = 0.0,
        source: str = "",
        topic: Topic = IMAGES_ARRIVED,
        **fields: Any,
    ) -> tuple[Outcome, list[Received[Arrival]]]:
        """Pass one batch through the ordinary role, and its progress on."""
        batch = []
        for uri in uris:
            value = json.dumps({"uri": uri, **fields}).encode()
            headers = (("ce_id", b"e%d" % self.offset), ("ce_source", source.encode()))
            record = Record(topic.name, b"key", headers, value)
            partition = Partition(topic.name, 0)
            ms = int((NOW.timestamp() + at_s) * 1000)
            batch.append(Received(decode_arrival(record), partition, self.offset, record, ms))
            self.offset += 1
        items = await self.archive.role.prepare(batch)
        async with self.pool.transaction() as tx:
            await tx.execute(
                "INSERT INTO progress (grp, topic, part, next_offset, cluster_id)"
                " VALUES ('tagging', $1, 0, $2, 'c1')"
                " ON CONFLICT (grp, topic, part) DO UPDATE SET next_offset = $2",
                topic.name,
                self.offset,
            )
            outcome = await self.archive.role.apply(items, tx)
        return outcome, batch

    async def work_off(self) -> int:
        """Work off what is parked, one after the other; return how many images."""
        done = 0
        for lane in (self.lane, self.suspects):
            while (claimed := await lane.claim()) is not None:
                await lane.work_on(claimed)
                done += 1
        return done

    async def parked(self) -> dict[UUID, dict[str, Any]]:
        rows = await self.pool.fetch("SELECT * FROM parked_images")
        return {row["image_id"]: dict(row) for row in rows}


async def open_slow_archive(pool: Pool, contents: dict[str, bytes]) -> SlowArchive:
    """Return an archive with two labels over a blob store with these contents."""
    archive = Archive(pool, decoder=PromptDecoder())
    archive.blobs.contents |= contents
    await archive.define("cat", "dog")
    decoder, sent = PatientDecoder(), KeptOutbox()
    metrics = TaggingMetrics(Metrics(CollectorRegistry()))
    tagger = LabelledTagger(pool, ClipTagger(decoder, HashModel(), OPTIONS))
    role = TaggingRole(archive.blobs, tagger, PostgresTags(archive.best), metrics)
    lane = SlowLane(pool, role, dead_letters, sent, Slowness.PICTURE)
    suspects = SlowLane(pool, role, dead_letters, sent, None)
    return SlowArchive(pool, archive, lane, suspects, decoder, sent)
