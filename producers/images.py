"""The only maker of new `image.arrived` events, on either lane."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from core.messaging.cloudevents import encode
from producers.sinks import Sink
from schemas.image import ImageArrived
from schemas.topics import Lane


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How one image is to be tagged; None: as the instance is set."""

    labels: tuple[str, ...] | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Who announces an image, and in which job."""

    owner: str | None = None
    job_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ImageProducer:
    """Announces images.

    Attributes:
        source: `ce_source` of the events, e.g. `/ingress`.
        new_id: makes the event's own id; two announcements of one image are two events.
        lane: bulk where nobody waits for the tags.
    """

    sink: Sink
    source: str
    now: Callable[[], datetime] = _now
    new_id: Callable[[], UUID] = uuid4
    lane: Lane = Lane.FRESH

    async def announce(
        self,
        uri: str,
        *,
        path: str | None = None,
        sha256: str | None = None,
        wishes: Wishes = Wishes(),
        origin: Origin = Origin(),
        made_at: datetime | None = None,
    ) -> ImageArrived:
        """Announce an image that is there to be tagged; return the event as it was put.

        Args:
            uri: where the bytes are (`schemas.image.ImageArrived`); the identity derives from it.
            path: what people see as `image_path`; None: derived from the URI.
            sha256: hex, if the bytes were read.
            wishes: how it is to be tagged.
            origin: who announces it.
            made_at: the event's time; None: now. Of two arrivals of an image the later one counts,
                and a deletion after it is not undone.

        Raises:
            pydantic.ValidationError: a field breaks its rule.
            TransientError: the sink did not take it; announcing again is harmless.
        """
        event = ImageArrived(
            uri=uri,
            path=path,
            labels=wishes.labels,
            top_k=wishes.top_k,
            sha256=sha256,
            owner=origin.owner,
            job_id=origin.job_id,
        )
        record = encode(
            self.lane.topic,
            event,
            key=str(event.image_id),
            event_id=str(self.new_id()),
            source=self.source,
            now=made_at or self.now(),
        )
        await self.sink.put(record)
        return event
