"""One poller per process looks for all listeners, at what somebody listens to, and only then."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from time import monotonic, time_ns
from uuid import UUID

import structlog
from pydantic import BaseModel

from core.errors import PhotoTaggerError
from core.storage.stream import changes
from core.storage.stream.changes import KEPT_S, Changed
from core.transaction import Database, Transaction
from ingress.live.listeners import EventListener, Frame, Viewer, frame_of
from ingress.live.topics import (
    ChangeTopic,
    ImagesTopic,
    InboxTopic,
    JobsTopic,
    LabelsTopic,
    PipelineTopic,
    QueriesTopic,
    StateTopic,
    Told,
)
from ingress.live.watching import PipelineWatch

log = structlog.get_logger(__name__)

TICK_S = 0.25  # of one topic nobody is told more often
OUTAGE_PAUSE_S = 1.0
#: A look may take so much of the time: one that takes long is taken less often.
BUSY_SHARE = 0.1
#: Whoever has not looked for longer may have missed changes that are forgotten by now.
MISSED_AFTER_S = KEPT_S / 2


def poller_of(database: Database, pipeline: PipelineWatch, base_url: str) -> "Poller":
    """Return the poller of all topics."""
    return Poller(
        database,
        (ImagesTopic(), QueriesTopic()),
        (
            JobsTopic(base_url),
            LabelsTopic(),
            PipelineTopic(pipeline.look, base_url),
            InboxTopic(),
        ),
        monotonic,
    )


@dataclass(slots=True)
class Poller:
    """Looks for all listeners together.

    Attributes:
        clock: monotonic seconds.
    """

    database: Database
    change_topics: Sequence[ChangeTopic]
    state_topics: Sequence[StateTopic]
    clock: Callable[[], float]
    _listeners: set[EventListener] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _number: int = 0
    _seen: str | None = None
    _looked_at: float = 0.0
    _due: dict[str, float] = field(default_factory=dict)
    _told: dict[str, dict[Viewer, Frame]] = field(default_factory=dict)

    @contextmanager
    def listening(
        self, topics: Collection[str], owner: str | None, job_id: UUID | None = None
    ) -> Iterator[EventListener]:
        """Yield a listener, which is sent a snapshot of each topic first."""
        listener = EventListener(topics, Viewer(owner, job_id))
        self._listeners.add(listener)
        self._wake.set()
        if self._task is None or self._task.done():
            # In a context of its own: it works for all, not for the request that came first.
            self._task = asyncio.create_task(self._run(), context=Context())
            self._task.add_done_callback(self._ended)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def _run(self) -> None:
        self._seen = None
        while self._listeners:
            self._wake.clear()
            try:
                async with self.database.connection() as connection:
                    await self._look(connection)
            except PhotoTaggerError as error:
                log.warning("events_postponed", error=str(error))
                self._begin_anew()
                await asyncio.sleep(OUTAGE_PAUSE_S)
            else:
                await self._pause()
        self._told.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End the streams of a look that failed: clients connect again, and another one begins."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("events_failed", error=repr(error))
        if task is self._task:
            for listener in self._listeners:
                listener.end()

    async def _pause(self) -> None:
        """Wait for the next look; new listeners are not kept waiting."""
        try:
            async with asyncio.timeout(TICK_S):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(TICK_S / 5)  # of many who come at once one look serves all

    def _begin_anew(self) -> None:
        """Have all listeners sent snapshots: something may have been missed."""
        self._seen = None
        for listener in self._listeners:
            listener.new_to = set(listener.topics)

    async def _look(self, connection: Transaction) -> None:
        listened = {topic for listener in self._listeners for topic in listener.topics}
        await self._look_for_changes(
            connection, [one for one in self.change_topics if one.name in listened]
        )
        for topic in self.state_topics:
            if topic.name in listened:
                await self._look_at_state(connection, topic)

    async def _look_at_state(self, connection: Transaction, topic: StateTopic) -> None:
        """Tell how things are: all when a look is due; before that, whom a look has not served."""
        listeners, known = self._of(topic.name), self._told.get(topic.name, {})
        started = self.clock()
        is_due = started >= self._due.get(topic.name, 0.0)
        viewers = {one.viewer for one in listeners if is_due or one.viewer not in known}
        told = await topic.look(connection, viewers) if viewers else {}
        news = self._framed(topic.name, told, known)
        frames = {one.viewer: (dict(known) | news)[one.viewer] for one in listeners}
        self._told[topic.name] = frames
        for listener in listeners:
            if listener.viewer in news or topic.name in listener.new_to:
                listener.new_to.discard(topic.name)
                listener.put(frames[listener.viewer])
        if is_due:
            spent_s = self.clock() - started
            self._due[topic.name] = started + max(topic.pause_s, spent_s / BUSY_SHARE)

    async def _look_for_changes(
        self, connection: Transaction, topics: Sequence[ChangeTopic]
    ) -> None:
        if not topics:
            self._seen = None
            return
        looked, waited_s = None, self.clock() - self._looked_at
        if self._seen is not None and waited_s > MISSED_AFTER_S:
            self._begin_anew()
        if self._seen is None:
            # First where we stand, then how things are: what is between comes twice, never not.
            self._seen, self._looked_at = await changes.now(connection), self.clock()
        elif waited_s >= TICK_S * 0.9:  # sooner only new listeners are served
            looked = await changes.since(connection, self._seen, [one.kind for one in topics])
            self._looked_at = self.clock()
            self._seen = looked.seen
        for topic in topics:
            await self._tell_changes(connection, topic, looked)

    async def _tell_changes(
        self, connection: Transaction, topic: ChangeTopic, looked: Changed | None
    ) -> None:
        listeners = self._of(topic.name)
        new = [one for one in listeners if topic.name in one.new_to]
        if new:
            viewers = {listener.viewer for listener in new}
            told = await topic.snapshot(connection, viewers, is_cut=False)
            self._put(topic.name, told, new)
            for listener in new:
                listener.new_to.discard(topic.name)
        old = [one for one in listeners if one not in new]
        if not old or looked is None or not (looked.ids.get(topic.kind) or looked.is_cut):
            return
        viewers = {listener.viewer for listener in old}
        told = await topic.changes(connection, looked, viewers)
        late = [one for one in old if one.lags_behind(topic.name) and one.viewer in told]
        self._put(topic.name, told, [one for one in old if one not in late])
        if late:  # a snapshot in place of a backlog: they are to look again
            viewers = {listener.viewer for listener in late}
            self._put(topic.name, await topic.snapshot(connection, viewers, is_cut=True), late)

    def _of(self, topic: str) -> list[EventListener]:
        return [listener for listener in self._listeners if topic in listener.topics]

    def _put(self, topic: str, told: Told, listeners: Sequence[EventListener]) -> None:
        frames = {viewer: self._frame(topic, value) for viewer, value in told.items()}
        for listener in listeners:
            if listener.viewer in frames:
                listener.put(frames[listener.viewer])

    def _framed(self, topic: str, told: Told, known: Mapping[Viewer, Frame]) -> dict[Viewer, Frame]:
        """Return frames of what differs from what each viewer was told last."""
        made: dict[int, Frame] = {}
        news: dict[Viewer, Frame] = {}
        for viewer, value in told.items():
            if viewer not in known or known[viewer].value != value:
                if id(value) not in made:
                    made[id(value)] = self._frame(topic, value)
                news[viewer] = made[id(value)]
        return news

    def _frame(self, topic: str, value: BaseModel) -> Frame:
        # By the clock, so that numbers do not go back when the process is started anew.
        self._number = max(self._number + 1, time_ns() // 1_000_000)
        return frame_of(topic, value, self._number)
