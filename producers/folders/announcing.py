"""Announce photos in batches; each is acknowledged by Kafka before the ledger is written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from pydantic import ValidationError

from core.blobs.walking import FoundFile, Walk
from core.errors import PermanentError, TransientError
from core.messaging.ports import RecordPublisher
from producers.images import ImageProducer, Origin, Wishes
from producers.publishing import Collector, Patience, publish_all
from schemas.topics import Lane

BATCH_PHOTOS = 500  # 100 to 200 KB of records: one or two requests per partition leader


@dataclass(frozen=True, slots=True)
class Photo:
    """An image to be announced.

    Attributes:
        uri: as in `schemas.image.ImageArrived`.
        sha256: hex, where the bytes were read.
        path: what people see; None: derived from the URI.
        made_at: when it came, where that is known; None: now.
    """

    uri: str
    sha256: str | None = None
    path: str | None = None
    made_at: datetime | None = None


#: The error of one announcement; None: Kafka has acknowledged it.
Problem = PermanentError | TransientError | None


@dataclass(frozen=True, slots=True)
class Announcer:
    """Announces batches of photos straight to Kafka.

    Attributes:
        source: `ce_source` of the events, e.g. `/producers/watch`.
    """

    publisher: RecordPublisher
    source: str
    patience: Patience

    async def announce(
        self,
        photos: Sequence[Photo],
        *,
        wishes: Wishes | None = None,
        origin: Origin | None = None,
        lane: Lane = Lane.BULK,
    ) -> list[Problem]:
        """Announce photos; return one outcome per photo, in order.

        Announcing again is harmless. An outcome is a `TransientError` where the broker was away
        for longer than `patience` allows.
        """
        collector = Collector()
        producer = ImageProducer(collector, self.source, lane=lane)
        wishes, origin = wishes or Wishes(), origin or Origin()
        problems: list[Problem] = [None] * len(photos)
        sendable = []
        for index, photo in enumerate(photos):
            try:
                await producer.announce(
                    photo.uri,
                    path=photo.path,
                    sha256=photo.sha256,
                    wishes=wishes,
                    origin=origin,
                    made_at=photo.made_at,
                )
                sendable.append(index)
            except ValidationError as error:
                problems[index] = _refused(photo, error)
        sent = await publish_all(self.publisher, collector.records, self.patience)
        for index, outcome in zip(sendable, sent, strict=True):
            if isinstance(outcome, PermanentError | TransientError):
                problems[index] = outcome
        return problems


async def in_batches(walk: Walk, size: int = BATCH_PHOTOS) -> AsyncIterator[list[FoundFile]]:
    """Yield the walk's photos in batches, read off the event loop.

    Raises:
        ImageMissing: the start is no directory.
        BlobStoreAway: the root is not there.
    """
    steps = iter(walk)
    while batch := await asyncio.to_thread(lambda: list(islice(steps, size))):
        yield batch


def _refused(photo: Photo, error: ValidationError) -> PermanentError:
    problem = error.errors(include_url=False, include_input=False)[0]
    return PermanentError(f"{photo.uri}: {problem['msg']}", reason="event_refused")
