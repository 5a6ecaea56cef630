"""The tagging role as in production, except decoder and model: vectors come from hashes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from consumers.best_images import BestImages
from consumers.tagging.adapters import PostgresTags
from consumers.tagging.arrivals import Arrival
from consumers.tagging.labelled_tagger import LabelledTagger
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.rescoring import Rescoring
from consumers.tagging.role import TaggingItem, TaggingRole
from core.errors import PermanentError, TransientError
from core.messaging.role import Outcome, Received
from core.storage import labels
from core.storage.pool import Pool
from core.tags import Label, Tagged, TagRequest
from core.telemetry.metrics import Metrics
from core.vision.ports import Decoder
from core.vision.tagger import ClipTagger, TaggerOptions
from schemas.image import ImageArrived
from schemas.record import Partition, Record
from schemas.topics import Lane
from tests.fakes.vision import HashModel, MemoryDecoder

OPTIONS = TaggerOptions(
    scoring="softmax",
    top_k=3,
    batch_max_images=16,
    batch_max_pixels=10**9,
    preprocessing="exact-1",
    templates=("a photo of {}",),
    background=("a photo",),
)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def picture(number: int) -> bytes:
    return b"\xff\xd8\xff\xe0" + number.to_bytes(4, "big")


class NumberedBlobs:
    """A blob store in which `file:p/7.jpg` is picture 7; other URIs are as stored."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.away: TransientError | None = None

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        if self.away is not None:
            raise self.away
        return [
            self.contents.get(uri) or picture(int(uri.removeprefix("file:p/")[:-4])) for uri in uris
        ]

    async def keep(self, content: bytes) -> str:
        raise AssertionError(content)


@dataclass
class Archive:
    pool: Pool
    model: HashModel = field(default_factory=HashModel)
    decoder: Decoder = field(default_factory=MemoryDecoder)
    blobs: NumberedBlobs = field(default_factory=NumberedBlobs)
    reused: list[int] = field(default_factory=list)
    thumbs: dict[bytes, bytes] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))

    def __post_init__(self) -> None:
        self.clip = ClipTagger(
            self.decoder, self.model, OPTIONS, TaggingMetrics(self.metrics).passed
        )
        self.tagger = LabelledTagger(
            self.pool, self.clip, self.reused.append, self.thumbs.__setitem__
        )
        self.best = BestImages(is_softmax=True)
        measuring = TaggingMetrics(self.metrics)
        self.role = TaggingRole(self.blobs, self.tagger, PostgresTags(self.best), measuring)
        self.rescoring = Rescoring(self.pool, self.tagger, self.best)

    async def define(self, *names: str) -> int:
        async with self.pool.transaction() as tx:
            return await labels.define(tx, [Label(name) for name in names])

    async def prepare(
        self, *arrivals: ImageArrived, lane: Lane = Lane.FRESH, at: datetime = NOW
    ) -> list[TaggingItem]:
        return await self.role.prepare(
            [
                Received(
                    event=Arrival(event),
                    partition=Partition(lane.topic.name, 0),
                    offset=offset,
                    record=Record(lane.topic.name, None, (), b""),
                    timestamp_ms=int(at.timestamp() * 1000),
                )
                for offset, event in enumerate(arrivals)
            ]
        )

    async def tag(
        self, *arrivals: ImageArrived, lane: Lane = Lane.FRESH, at: datetime = NOW
    ) -> Outcome:
        items = await self.prepare(*arrivals, lane=lane, at=at)
        async with self.pool.transaction() as tx:
            return await self.role.apply(items, tx)

    async def rescore(self) -> int:
        """Re-score to the end; return the number of steps."""
        steps = 0
        while await self.rescoring.step():
            steps += 1
        return steps

    async def rows(self) -> dict[str, dict[str, Any]]:
        found = await self.pool.fetch(
            """SELECT t.*, (SELECT coalesce(jsonb_object_agg(l.name, s.score), '{}')
                            FROM current_tags s JOIN labels l ON l.id = s.label_id
                            WHERE s.image_id = t.id) AS listed
               FROM tagged_images t"""
        )
        return {
            row["image_path"]: {
                **row,
                "tags": {tag["tag"]: tag["score"] for tag in json.loads(row["tags"])},
                "listed": {k: v / 1e6 for k, v in json.loads(row["listed"]).items()},
            }
            for row in found
        }

    async def oracle(self, names: Sequence[str], *numbers: int) -> dict[str, dict[str, float]]:
        """Return the tags of these pictures under these labels, tagged from scratch."""
        fresh = ClipTagger(MemoryDecoder(), HashModel(), OPTIONS)
        await fresh.use_labels([Label(name) for name in names], 1)
        requests = [TagRequest()] * len(numbers)
        results = await fresh.tag_all([picture(number) for number in numbers], requests)
        return {
            f"p/{number}.jpg": {tag.tag: tag.confidence for tag in result.tags.tags}
            for number, result in zip(numbers, results, strict=True)
            if isinstance(result, Tagged)
        }


def arrival(number: int, **values: Any) -> ImageArrived:
    return ImageArrived(uri=f"file:p/{number}.jpg", **values)


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
