"""Turn a micro-batch of image arrivals into stored tags.

Knows nothing of Kafka, SQL or CUDA: what it needs, it names as ports (`ports.py`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from uuid import UUID, uuid5

from consumers.tagging.arrivals import Arrival, is_scanned, made
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.ports import Blobs, Tagger, TagTable
from core.errors import PermanentError, TransientError
from core.failpoints import reach
from core.messaging.cloudevents import encode, in_trace
from core.messaging.role import Item, Outcome, Received, Rejection
from core.offsets import Place
from core.tags import Made, Postponed, Slowness, Tagged, TagRequest
from core.transaction import Transaction
from schemas.image import Failure, ImageTagged, Tag
from schemas.record import Record
from schemas.topics import IMAGES_BULK, IMAGES_TAGGED, Lane

SOURCE = "/consumers/tagging"


class StaleLabels(TransientError):
    """The default labels changed since the plan was made, so it must be made again."""


TaggingItem = Item[Arrival, Tagged | Postponed]


@dataclass(frozen=True, slots=True)
class TaggingRole:
    """Bytes -> pixels -> embeddings -> tags; tags -> rows."""

    blobs: Blobs
    tagger: Tagger
    table: TagTable
    metrics: TaggingMetrics

    async def prepare(self, batch: Sequence[Received[Arrival]]) -> list[TaggingItem]:
        """Fetch, decode and tag. Free of effects, but for bytes kept under their hash."""
        await self.tagger.refresh()
        began = perf_counter()
        contents = await self._contents(batch)
        self.metrics.passed("fetch", len(batch), perf_counter() - began)
        reach("tagging.fetched")
        requests = [TagRequest(it.event.event.labels, it.event.event.top_k) for it in batch]
        results = await self.tagger.tag_all(contents, requests)
        reach("tagging.tagged")
        return [Item(received, plan) for received, plan in zip(batch, results, strict=True)]

    async def _contents(
        self, batch: Sequence[Received[Arrival]]
    ) -> list[bytes | PermanentError | Postponed]:
        away = [it.event.event.uri for it in batch if it.event.content is None]
        fetched = iter(await self.blobs.read_all(away)) if away else iter(())
        contents: list[bytes | PermanentError | Postponed] = []
        for received in batch:
            inline = received.event.content
            if inline is not None:
                await self.blobs.keep(inline)
            contents.append(next(fetched) if inline is None else inline)
        return contents

    async def apply(self, items: Sequence[TaggingItem], tx: Transaction) -> Outcome:
        """Write tags and failures, and set aside what is slow; emit one event per other image."""
        current, skipped = await self._current(items, tx)
        parked = [it for it in current if isinstance(it.plan, Postponed)]
        done = [(it.received, it.plan) for it in current if not isinstance(it.plan, Postponed)]
        tagged = [(it.event, plan, made(it)) for it, plan in done if isinstance(plan, Tagged)]
        failed = [
            (it.event, plan, made(it)) for it, plan in done if isinstance(plan, PermanentError)
        ]
        if tagged:
            await self._check_labels([plan for _, plan, _ in tagged], tx)
            reach("tagging.checked")
            await self.table.replace(tx, tagged)
            reach("tagging.replaced")
        if failed:
            await self.table.record_failures(tx, failed)
            reach("tagging.failed")
        if done:
            made_of = [(_image_id(it), made(it)) for it, _ in done]
            await self.table.supersede(tx, made_of, _producers_jobs(it for it, _ in done))
            reach("tagging.superseded")
        if parked:
            await self.table.park(tx, *_aside(parked, items))
            reach("tagging.parked")
        if skipped:
            counted = {_image_id(it.received) for it in current if it.received.event.event.job_id}
            await self.table.skip(tx, skipped, counted)
        counts = {
            "tagged": len(tagged),
            "parked": len(parked),
            "skipped": len(items) - len(current),
        }
        reasons = [error.reason for _, error, _ in failed]
        now = datetime.now(UTC)
        return Outcome(
            emitted=tuple(_tagged_event(received, plan, now) for received, plan in done),
            rejected=tuple(_rejections(items)),
            notices=(partial(self.metrics.applied, _lane(items), counts, reasons),),
        )

    async def _check_labels(self, plans: Sequence[Tagged], tx: Transaction) -> None:
        version = await self.table.label_version(tx)
        if any(plan.label_version not in {None, version} for plan in plans):
            raise StaleLabels(f"labels are at version {version} now")

    async def _current(
        self, items: Sequence[TaggingItem], tx: Transaction
    ) -> tuple[list[TaggingItem], list[Arrival]]:
        """Return each image's arrival that was made last, and those that count no more.

        Of those that were made at the same time it is the last one in the log; it is none where
        something later happened to the image before.
        """
        ids = {item.received.event.event.image_id for item in items}
        items = await self._without_deleted(items, ids, tx)
        latest = await self.table.latest(tx, sorted(ids))
        winners: dict[UUID, TaggingItem] = {}
        skipped: list[Arrival] = []
        for item in items:
            image_id, at = _image_id(item.received), made(item.received)
            beaten: TaggingItem | None = item
            if at >= latest.get(image_id, at):
                beaten = winners.get(image_id)
                latest[image_id], winners[image_id] = at, item
            if beaten is not None:
                skipped.append(beaten.received.event)
        return list(winners.values()), skipped

    async def _without_deleted(
        self, items: Sequence[TaggingItem], ids: Collection[UUID], tx: Transaction
    ) -> Sequence[TaggingItem]:
        """Return what is left without files that a scan found again after somebody deleted them."""
        scanned, plans = [], []
        for it in items:
            # What is slow has not been read yet: it is looked at when its turn comes.
            if is_scanned(it.received.record) and not isinstance(it.plan, Postponed):
                scanned.append(it)
                plans.append((it.received.event, it.plan))
        if not scanned:
            return items
        held = await self.table.stay_deleted(tx, plans, ids)
        gone = {id(item) for item, is_gone in zip(scanned, held, strict=True) if is_gone}
        return [item for item in items if id(item) not in gone]


def _rejections(items: Iterable[TaggingItem]) -> Iterator[Rejection]:
    for it in items:
        if isinstance(it.plan, PermanentError):
            yield Rejection(it.received.partition, it.received.offset, it.plan)


def _producers_jobs(received: Iterable[Received[Arrival]]) -> Counter[UUID]:
    """Return how many arrivals direct producers sent in each job; ours are counted elsewhere."""
    return Counter(
        job_id
        for it in received
        if (job_id := it.event.event.job_id) is not None and not is_scanned(it.record)
    )


def _image_id(received: Received[Arrival]) -> UUID:
    return received.event.event.image_id


def _lane(items: Sequence[TaggingItem]) -> Lane:
    """Return the lane of a batch, which is of one topic."""
    topics = {item.received.partition.topic for item in items}
    return Lane.BULK if topics == {IMAGES_BULK.name} else Lane.FRESH


def _aside(
    parked: Sequence[TaggingItem], items: Sequence[TaggingItem]
) -> tuple[list[tuple[Received[Arrival], Slowness, Made]], list[tuple[UUID, Place]]]:
    """Return the arrivals to be parked, and the places of all arrivals of the same images."""
    images = [
        (it.received, it.plan.why, made(it.received))
        for it in parked
        if isinstance(it.plan, Postponed)
    ]
    ids = {_image_id(it.received) for it in parked}
    places = [
        (_image_id(it.received), Place(*it.received.partition, it.received.offset))
        for it in items
        if _image_id(it.received) in ids
    ]
    return images, places


def _tagged_event(
    received: Received[Arrival], plan: Tagged | PermanentError, now: datetime
) -> Record:
    event = received.event.event
    if isinstance(plan, PermanentError):
        outgoing = ImageTagged(
            image_id=event.image_id,
            uri=event.uri,
            path=event.image_path,
            job_id=event.job_id,
            error=Failure.saying(plan.reason, str(plan)),
            tagged_at=now,
        )
    else:
        tags = plan.tags
        outgoing = ImageTagged(
            image_id=event.image_id,
            uri=event.uri,
            path=event.image_path,
            tags=tuple(Tag(tag=tag.tag, score=tag.confidence) for tag in tags.tags),
            sha256=tags.sha256.hex(),
            model=tags.model,
            exif_datetime=tags.exif_datetime,
            exif_source=tags.exif_source,
            truncated=tags.truncated,
            width=tags.width,
            height=tags.height,
            job_id=event.job_id,
            tagged_at=now,
        )
    record = encode(
        IMAGES_TAGGED,
        outgoing,
        key=str(event.image_id),
        event_id=str(uuid5(event.image_id, _identity(received, plan))),
        source=SOURCE,
        now=now,
    )
    return in_trace(record, received.traceparent)


def _identity(received: Received[Arrival], plan: Tagged | PermanentError) -> str:
    """Return what makes two events about an image one: the same arrival with the same outcome.

    The arrival's offset is not part of it, since an outbox row whose acknowledgement was lost is
    published twice. The outcome is, since a replayed dead letter has the id that it had before.
    """
    if isinstance(plan, PermanentError):
        outcome = f"failed/{plan.reason}"
    else:
        tags = plan.tags
        outcome = f"{tags.sha256.hex()}/{tags.model}/{tags.preprocessing}/{plan.label_version}"
    return f"{received.event_id}/{outcome}"
