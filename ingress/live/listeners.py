"""Who listens to which topics, and what each is still to be sent: one frame per topic at most."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Viewer:
    """What a listener may see; those who may see the same are sent the same frames.

    Attributes:
        owner: whose; None: an administrator, who sees all.
        job_id: of jobs only this one; None: those that go on.
    """

    owner: str | None
    job_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, made once for all who are sent it.

    Attributes:
        value: what it tells.
        text: as it goes over the line.
    """

    topic: str
    value: BaseModel
    text: str


def frame_of(topic: str, value: BaseModel, number: int) -> Frame:
    """Return the event of a topic."""
    return Frame(topic, value, f"event: {topic}\nid: {number}\ndata: {value.model_dump_json()}\n\n")


@dataclass(slots=True, eq=False)
class EventListener:
    """One client.

    Attributes:
        new_to: topics of which it is to be sent a snapshot.
        ready: set while there is something to be sent.
    """

    topics: Collection[str]
    viewer: Viewer
    new_to: set[str] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _box: dict[str, Frame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with snapshots of all topics."""
        self.new_to = set(self.topics)

    def lags_behind(self, topic: str) -> bool:
        """Tell whether an event of a topic is still to be sent."""
        return topic in self._box

    def put(self, frame: Frame) -> None:
        """Have a frame sent, in place of an older one of its topic."""
        self._box[frame.topic] = frame
        self.ready.set()

    def take(self) -> list[Frame]:
        """Return what is to be sent now."""
        frames, self._box = list(self._box.values()), {}
        self.ready.clear()
        return frames
