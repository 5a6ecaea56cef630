"""The tagging role's ports, satisfied by PostgreSQL and the blob store."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from consumers.best_images import BestImages
from consumers.tagging.arrivals import Arrival, is_scanned
from core.blobs.store import KEPT, BlobStore
from core.errors import PermanentError
from core.messaging.role import Received
from core.offsets import Place
from core.storage import labels
from core.storage.archive import image_deletion, image_tags, images, ordering, parked_images
from core.storage.archive.image_deletion import Scanned
from core.storage.archive.images import FailedImage
from core.storage.archive.ownership import NamedOwner
from core.storage.folders import jobs
from core.tags import Made, Postponed, Slowness, Tagged, TagScore
from core.transaction import Transaction

log = structlog.get_logger(__name__)

DETAIL_CHARS = 2000


@dataclass(frozen=True, slots=True)
class PostgresTags:
    """Where tags are kept."""

    best: BestImages

    async def label_version(self, tx: Transaction) -> int:
        """Return the version of the default labels, held until the transaction ends."""
        return await labels.hold_version(tx)

    async def latest(self, tx: Transaction, image_ids: Sequence[UUID]) -> dict[UUID, Made]:
        """Return what happened last to each of these images: an arrival before it counts no more.

        Nothing more happens to those that are known until the transaction ends.
        """
        return await ordering.latest(tx, image_ids)

    async def skip(
        self, tx: Transaction, arrivals: Sequence[Arrival], counted: Collection[UUID]
    ) -> None:
        """Note that arrivals count no more: for their jobs they are done."""
        events = [arrival.event for arrival in arrivals]
        claims = [NamedOwner(event.image_id, event.owner, event.job_id) for event in events]
        await ordering.note_overtaken(tx, claims, counted)

    async def stay_deleted(
        self,
        tx: Transaction,
        scanned: Sequence[tuple[Arrival, Tagged | PermanentError]],
        image_ids: Collection[UUID],
    ) -> list[bool]:
        """Return of each file that a scan found whether it was deleted, and is the same since."""
        files = [
            Scanned(
                arrival.event.image_id,
                plan.tags.sha256 if isinstance(plan, Tagged) else None,
                arrival.event.job_id,
            )
            for arrival, plan in scanned
        ]
        held = await image_deletion.stay_deleted(tx, files, image_ids)
        return [file in held for file in files]

    async def replace(
        self, tx: Transaction, tagged: Sequence[tuple[Arrival, Tagged, Made]]
    ) -> None:
        """Store the tags in place of what the images had."""
        names = {tag.tag for _, plan, _ in tagged for tag in plan.tags.tags}
        rows = [_row(*one) for one in tagged]
        label_ids = await labels.known(tx, names)
        if len(label_ids) < len(names):
            await image_tags.lock(tx, [row.image_id for row in rows])
            label_ids = await labels.ensure(tx, names)
        if any(row.label_version is None for row in rows):
            # Somebody may have added one in another spelling since the tags were made.
            spelling = await labels.spelled(tx, names)
            rows = [_spelled_so(row, spelling) for row in rows]
            label_ids |= {spelling[name]: number for name, number in label_ids.items()}
        await self.best.begin(tx)
        await self.best.offer(tx, await image_tags.replace(tx, rows, label_ids))

    async def record_failures(
        self, tx: Transaction, failed: Sequence[tuple[Arrival, PermanentError, Made]]
    ) -> None:
        """Put images into the failure ledger."""
        await images.record_failures(
            tx,
            [
                FailedImage(
                    image_id=arrival.event.image_id,
                    uri=arrival.event.uri,
                    path=arrival.event.image_path,
                    owner=arrival.event.owner,
                    job_id=arrival.event.job_id,
                    reason=error.reason,
                    detail=str(error).replace("\x00", "")[:DETAIL_CHARS],
                    made=made,
                )
                for arrival, error, made in failed
            ],
        )

    async def park(
        self,
        tx: Transaction,
        images: Sequence[tuple[Received[Arrival], Slowness, Made]],
        places: Sequence[tuple[UUID, Place]],
    ) -> None:
        """Set arrivals aside until they are tagged apart from others."""
        await parked_images.park(tx, [_parked(*image) for image in images], places)
        reasons = Counter(why.value for _, why, _ in images)
        log.info("images_parked", images=len(images), **reasons)

    async def supersede(
        self, tx: Transaction, done: Sequence[tuple[UUID, Made]], per_job: Mapping[UUID, int]
    ) -> None:
        """Forget what was set aside of these images, and count them in their producers' jobs."""
        await parked_images.supersede(tx, done)
        if per_job:
            await jobs.count_records(tx, per_job)


@dataclass(frozen=True, slots=True)
class PromptBlobs:
    """The blob store, for those that have others waiting behind them."""

    store: BlobStore

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError | Postponed]:
        """Return each image's bytes, in order; who sends them slowly is not waited for."""
        return await self.store.read_soon(uris)

    async def keep(self, content: bytes) -> str:
        """Keep bytes that came inside a record; return their URI. Idempotent."""
        return await self.store.keep(content)


def _spelled_so(row: image_tags.TaggedImage, spelling: Mapping[str, str]) -> image_tags.TaggedImage:
    tags = tuple(TagScore(spelling[tag.tag], tag.score) for tag in row.tags.tags)
    return replace(row, tags=replace(row.tags, tags=tags))


def _parked(received: Received[Arrival], why: Slowness, made: Made) -> parked_images.ParkedImage:
    event = received.event.event
    scheme, _, rest = event.uri.partition(":")
    return parked_images.ParkedImage(
        image_id=event.image_id,
        uri=event.uri,
        path=event.image_path,
        owner=event.owner,
        job_id=event.job_id,
        # The pruner takes kept bytes to which no image refers.
        sha256=bytes.fromhex(rest) if scheme == KEPT else None,
        why=why,
        made=made,
        place=Place(*received.partition, received.offset),
        record=received.record,
        record_ms=received.timestamp_ms,
        scanned=is_scanned(received.record),
    )


def _row(arrival: Arrival, plan: Tagged, made: Made) -> image_tags.TaggedImage:
    event = arrival.event
    return image_tags.TaggedImage(
        image_id=event.image_id,
        uri=event.uri,
        path=event.image_path,
        owner=event.owner,
        job_id=event.job_id,
        tags=plan.tags,
        label_version=plan.label_version,
        top_k=plan.top_k,
        made=made,
    )
