"""The slow lanes: parked images are tagged here, beside the loop and behind it.

A claim is a lease with a token. Whatever an image's arrival has for effects is written in one
transaction that first looks whether the claim still stands, and that ends it. So after a kill, a
deletion or a later arrival nothing is lost and nothing is done twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import structlog

from consumers.tagging.arrivals import decode_arrival
from consumers.tagging.role import StaleLabels, TaggingItem, TaggingRole
from core.errors import (
    ConfigurationError,
    PermanentError,
    ProcessCrashed,
    RecordBroke,
    RecordRefused,
    TransientError,
)
from core.failpoints import reach
from core.messaging.ports import DeadLetters
from core.messaging.preparing import MOST_BROKEN_IN_A_ROW
from core.messaging.role import Item, Outcome, Received
from core.offsets import DeadLetter, OutboxRow
from core.storage.archive import parked_images
from core.storage.archive.parked_images import ClaimedImage
from core.tags import Slowness
from core.telemetry import tracing
from core.transaction import Database, Transaction
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Partition, Record
from schemas.topics import GROUPS, dead_letter_topic

log = structlog.get_logger(__name__)

IDLE_S = 0.5
#: A killed process's images wait so long; a living one prolongs its leases.
LEASE_S = 30.0
#: After an outage of whatever the image needs.
RETRY_S = 5.0
#: Deaths of the whole process over one image, after which it becomes a dead letter, as in the loop.
MAX_ATTEMPTS = 5
#: Waiting for a slow source costs nothing: half of what the blob store reads at once.
SOURCES_AT_ONCE = 8
#: How long a stop waits for a lease to be given back.
RELEASE_S = 2.0
_GROUP_OF = {topic.name: group for group, topic in GROUPS.items()}


class SlowLaneOutbox(Protocol):
    """Events that must leave: `core.messaging.outbox.OutboxPublisher`."""

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        """Write rows, to be published once `tx` has committed."""
        ...

    async def publish(self, rows: Sequence[OutboxRow]) -> object:
        """Publish them at once; the sweeper publishes what fails."""
        ...


def places(apart: int) -> dict[Slowness | None, int]:
    """Return how many images of each kind are worked on at once.

    Of the suspects (None) it is one: the death of a process is charged to all that it worked on,
    and two suspects would be charged for each other again and again.

    Args:
        apart: slow pictures that are decoded at once. Of the large ones it is one.
    """
    return {
        Slowness.PICTURE: apart,
        Slowness.MEMORY: 1,
        Slowness.SOURCE: SOURCES_AT_ONCE,
        None: 1,
    }


@dataclass(slots=True)
class SlowLane:
    """Tags parked images of one kind until stopped; owners take turns.

    Args:
        role: with a patient tagger and a patient blob store.
        why: the kind; None: suspects of any, which were under way when a process ended.
        at_once: how many are worked on at a time.
        moved: is called with the number of images done whenever the lane goes on.
    """

    database: Database
    role: TaggingRole
    letters: DeadLetters
    outbox: SlowLaneOutbox
    why: Slowness | None
    at_once: int = 1
    moved: Callable[[int], object] = lambda _: None
    lease_s: float = LEASE_S
    _turn: str = ""
    _broken_in_a_row: int = 0
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work off what is parked, and look for more, until `stop` is set.

        What is under way then is given back: it may take longer than a stop may.
        """
        stopping = asyncio.create_task(stop.wait())
        try:
            async with asyncio.TaskGroup() as tasks:
                while not stop.is_set():
                    self.moved(0)
                    is_full = len(self._running) >= self.at_once
                    if is_full or not await self._begin(tasks):
                        await asyncio.wait(
                            {stopping, *self._running},
                            timeout=None if is_full else IDLE_S,
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                for task in self._running:
                    task.cancel()
        finally:
            stopping.cancel()

    async def _begin(self, tasks: asyncio.TaskGroup) -> bool:
        """Begin with the next image; False where there is none."""
        try:
            claimed = await self.claim()
        except TransientError as error:
            log.info("slow_lane_postponed", detail=str(error)[:200])
            return False
        if claimed is None:
            return False
        task = tasks.create_task(self.work_on(claimed))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    async def claim(self) -> ClaimedImage | None:
        """Claim an image of the next owner; None where there is none.

        Raises:
            TransientError: the database is away.
        """
        async with self.database.connection() as connection:
            claimed = await parked_images.claim(
                connection, self.why, after=self._turn, lease_s=self.lease_s
            )
        if claimed is not None:
            self._turn = claimed.turn
            reach("slow.claimed")
        return claimed

    async def work_on(self, claimed: ClaimedImage) -> None:
        """Tag a claimed image while its claim stands; give it back where something is away."""
        work = asyncio.create_task(self._tag(claimed))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=self.lease_s / 3)
                self.moved(0)  # its time is bounded where it is decoded
                if not work.done() and not await self._prolonged(claimed):
                    log.info("parked_image_overtaken", image_id=str(claimed.image_id))
                    return
            await work
        except TransientError as error:
            log.info(
                "parked_image_postponed", image_id=str(claimed.image_id), detail=str(error)[:200]
            )
            await self._release(claimed, 0.0 if isinstance(error, StaleLabels) else RETRY_S)
        except asyncio.CancelledError:
            await _ended(work)
            await self._release(claimed, 0.0)
            raise
        finally:
            await _ended(work)

    async def _prolonged(self, claimed: ClaimedImage) -> bool:
        try:
            async with self.database.connection() as connection:
                return await parked_images.prolong(connection, claimed, self.lease_s)
        except TransientError:
            return True  # nobody else can claim it either

    async def _release(self, claimed: ClaimedImage, after_s: float) -> None:
        with suppress(TransientError, TimeoutError):  # the lease ends by itself
            async with asyncio.timeout(RELEASE_S), self.database.connection() as connection:
                await parked_images.release(connection, claimed, after_s)

    async def _tag(self, claimed: ClaimedImage) -> None:
        began = perf_counter()
        item = await self._item(claimed)
        reach("slow.prepared")
        try:
            is_ours = await self._commit(claimed, item)
        except RecordRefused as error:
            # As in the loop: the role is told, and if that is refused too, only the record is kept.
            try:
                is_ours = await self._commit(claimed, _failed(item, error))
            except RecordRefused as again:
                is_ours = await self._commit(claimed, again)
        if not is_ours:
            log.info("parked_image_overtaken", image_id=str(claimed.image_id))
            return
        self.moved(1)
        failure = item if isinstance(item, PermanentError) else item.plan
        log.info(
            "parked_image_dealt_with",
            image_id=str(claimed.image_id),
            lane=claimed.why.value,
            reason=failure.reason if isinstance(failure, PermanentError) else None,
            waited_s=round(claimed.waited_s, 1),
            took_ms=round(1000 * (perf_counter() - began)),
        )

    async def _item(self, claimed: ClaimedImage) -> TaggingItem | PermanentError:
        """Return the arrival with its plan; an error where it is no arrival any more."""
        place = claimed.place
        try:
            arrival = decode_arrival(claimed.record)
        except Exception as error:  # noqa: BLE001 - by an earlier version it was an arrival
            return _blamed(error, claimed, "decoded")
        partition = Partition(place.topic, place.partition)
        received = Received(arrival, partition, place.offset, claimed.record, claimed.record_ms)
        if claimed.attempts > MAX_ATTEMPTS:
            deaths = claimed.attempts - 1
            text = f"the process ended {deaths} times while this record was at work"
            return Item(received, ProcessCrashed(text))
        with tracing.doing("tagging apart", received.traceparent):
            try:
                (item,) = await self.role.prepare([received])
            except (TransientError, ConfigurationError):
                raise
            except Exception as error:
                self._broken_in_a_row += 1
                if self._broken_in_a_row > MOST_BROKEN_IN_A_ROW:
                    raise  # then it is this process, as in the loop
                return Item(received, _blamed(error, claimed, "prepared"))
        self._broken_in_a_row = 0
        return item

    async def _commit(self, claimed: ClaimedImage, item: TaggingItem | PermanentError) -> bool:
        """Write all effects of an arrival at once; return whether the claim still stood."""
        async with self.database.transaction() as tx:
            if not await parked_images.hold(tx, claimed):
                return False
            reach("slow.held")
            outcome, error = Outcome(), item if isinstance(item, PermanentError) else None
            if isinstance(item, Item):
                outcome = await self.role.apply([item], tx)
                error = item.plan if isinstance(item.plan, PermanentError) else None
            reach("slow.applied")
            await parked_images.finish(tx, claimed)
            reach("slow.finished")
            letters = [] if error is None else [_letter(claimed, error)]
            await self.letters.add(tx, letters)
            reach("slow.set_aside")
            rows = await self.outbox.add(tx, [*outcome.emitted, *map(_copy, letters)])
            reach("slow.outboxed")
        reach("slow.committed")
        for tell in outcome.notices:
            tell()
        await self.outbox.publish(rows)
        reach("slow.published")
        return True


def _blamed(error: Exception, claimed: ClaimedImage, during: str) -> PermanentError:
    """Return what an error costs its image, as in the loop (`core.messaging.preparing`)."""
    if isinstance(error, PermanentError):
        return error
    log.error("parked_image_broke", image_id=str(claimed.image_id), exc_info=error)
    return RecordBroke(error, during=during)


async def _ended(work: asyncio.Task[None]) -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _failed(
    item: TaggingItem | PermanentError, error: PermanentError
) -> TaggingItem | PermanentError:
    return error if isinstance(item, PermanentError) else Item(item.received, error)


def _letter(claimed: ClaimedImage, error: PermanentError) -> DeadLetter:
    where = DeadLetterPlace(
        _GROUP_OF[claimed.place.topic], *claimed.place, error.reason, str(error)
    )
    return DeadLetter(where, claimed.cluster_id, claimed.record, claimed.record_ms)


def _copy(letter: DeadLetter) -> Record:
    record, place = letter.record, letter.place
    return Record(
        dead_letter_topic(place.topic, place.group),
        record.key,
        (*record.headers, *place.headers()),
        record.value,
    )
