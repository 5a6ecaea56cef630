"""What the tagging role needs of others, as it names it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from consumers.tagging.arrivals import Arrival
from core.errors import PermanentError
from core.messaging.role import Received
from core.offsets import Place
from core.tags import Made, Postponed, Slowness, Tagged, TagRequest
from core.transaction import Transaction


class Blobs(Protocol):
    """Reads and stores the bytes of images."""

    async def read_all(self, uris: Sequence[str]) -> Sequence[bytes | PermanentError | Postponed]:
        """Return each image's bytes, in order, or why there are none, or none yet."""
        ...

    async def keep(self, content: bytes) -> str:
        """Keep bytes that came inside a record; return their URI. Idempotent."""
        ...


class Tagger(Protocol):
    """Pixels to tags."""

    async def refresh(self) -> None:
        """Take over the default labels in force, if they changed."""
        ...

    async def tag_all(
        self, images: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> Sequence[Tagged | PermanentError | Postponed]:
        """Return one result per image, in order; what is no bytes is returned as it is given."""
        ...


class TagTable(Protocol):
    """Where tags are kept."""

    async def label_version(self, tx: Transaction) -> int:
        """Return the version of the default labels, held until the transaction ends."""
        ...

    async def latest(self, tx: Transaction, image_ids: Sequence[UUID]) -> dict[UUID, Made]:
        """Return what happened last to each of these images: an arrival before it counts no more.

        Nothing more happens to them until the transaction ends.
        """
        ...

    async def stay_deleted(
        self,
        tx: Transaction,
        scanned: Sequence[tuple[Arrival, Tagged | PermanentError]],
        image_ids: Collection[UUID],
    ) -> list[bool]:
        """Return of each file that a scan found whether it was deleted, and is the same since."""
        ...

    async def replace(
        self, tx: Transaction, images: Sequence[tuple[Arrival, Tagged, Made]]
    ) -> None:
        """Store the tags in place of what the images had."""
        ...

    async def record_failures(
        self, tx: Transaction, failed: Sequence[tuple[Arrival, PermanentError, Made]]
    ) -> None:
        """Put images into the failure ledger."""
        ...

    async def skip(
        self, tx: Transaction, arrivals: Sequence[Arrival], counted: Collection[UUID]
    ) -> None:
        """Note that arrivals count no more: for their jobs they are done.

        Args:
            tx: the transaction, which has written what does count.
            arrivals: those.
            counted: images that a job of another arrival in this transaction counts.
        """
        ...

    async def park(
        self,
        tx: Transaction,
        images: Sequence[tuple[Received[Arrival], Slowness, Made]],
        places: Sequence[tuple[UUID, Place]],
    ) -> None:
        """Set arrivals aside, with when they were made, until they are tagged apart from others.

        Args:
            tx: the transaction.
            images: of each image the last arrival.
            places: where all arrivals of these images lie.
        """
        ...

    async def supersede(
        self, tx: Transaction, done: Sequence[tuple[UUID, Made]], per_job: Mapping[UUID, int]
    ) -> None:
        """Forget what was set aside of these images and was made no later than these.

        Args:
            tx: the transaction.
            done: the images with what was made of them.
            per_job: how many of them direct producers sent in each job of theirs.
        """
        ...
