"""Keeps the best image per set of labels in the transaction that stores tags."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.relevance.combos import (
    Candidates,
    Rows,
    accept,
    broken,
    candidates,
    single_keys,
    subset_limit,
)
from core.relevance.ranking import Rank, ScoredImage
from core.storage.archive.answer_rows import StoredTags
from core.storage.best import combos
from core.transaction import Transaction

#: Images with up to five labels take under 1 ms a batch; with more, a thread is used.
_FEW_LABELS = 5
#: Number of images after which it is clear whether the filter helps with this archive's scores: 2 %
#: of images pass it with a softmax's scores, 54 to 99 % with independent ones
#: (docs/research/relevance.md, section 3).
_SAMPLE = 10_000
_MOST_PASSED = 0.2


@dataclass(slots=True)
class BestImages:
    """Offers tagged images to the table, and lowers its limit where their sets are too many.

    Args:
        is_softmax: the scores of an image sum up to about 1.
    """

    is_softmax: bool
    _seen: int = 0
    _passed: int = 0

    async def begin(self, tx: Transaction) -> None:
        """Prepare the transaction; called before the tags are stored."""
        await combos.begin(tx)

    async def offer(self, tx: Transaction, stored: Sequence[StoredTags]) -> None:
        """Offer stored images; called after they are stored, once per transaction."""
        limit = await combos.end(tx)
        images = [ScoredImage(image.number, image.ts, image.scores) for image in stored]
        await withdraw(tx, [image.number for image in stored if image.existed], images)
        fitting = min((self._limit(image) for image in images), default=limit)
        found = await offer(tx, images, limit=limit, fitting=fitting)
        self._seen += len(images)
        self._passed += found.passed
        if self._seen > 2 * _SAMPLE:  # older images count half
            self._seen, self._passed = self._seen // 2, self._passed // 2

    def _limit(self, image: ScoredImage) -> int:
        scored = sum(1 for _, score in image.scores if score > 0)
        return subset_limit(scored, is_softmax=self.is_softmax and not self.is_flooded)

    @property
    def is_flooded(self) -> bool:
        """Return whether more images pass the filter than a softmax's would."""
        return self._seen >= _SAMPLE and self._passed > _MOST_PASSED * self._seen


async def withdraw(
    tx: Transaction, image_ids: Collection[int], images: Iterable[ScoredImage]
) -> None:
    """Make holes of the rows whose images are not as good any more as the rows say.

    Args:
        images: at least those of `image_ids` that still have tags.
    """
    keys = broken(_ranks(await combos.held_by(tx, image_ids)), images)
    if keys:
        await combos.lock_rows(tx)
        await combos.make_holes(tx, keys, image_ids)


async def offer(
    tx: Transaction, images: Sequence[ScoredImage], *, limit: int, fitting: int
) -> Candidates:
    """Offer images to the table; return what they might have won.

    Args:
        limit: up to which size the table keeps sets.
        fitting: the most that these images bear; lowers the table's where it is less.
    """
    singles = _rows(await combos.read(tx, single_keys(images)))
    size = min(limit, fitting)
    if any(len(image.scores) > _FEW_LABELS for image in images):
        found = await asyncio.to_thread(candidates, images, singles, max_size=size)
    else:
        found = candidates(images, singles, max_size=size)
    accepted = accept(found.rows, _rows(await combos.read(tx, found.rows)))
    if accepted or fitting < limit:
        await combos.lock_rows(tx)
        if fitting < limit:
            await combos.lower(tx, fitting)
        await combos.write(tx, accepted)
    return found


def _rows(stored: Mapping[bytes, combos.Row]) -> Rows:
    return {key: None if row is None else Rank(*row) for key, row in stored.items()}


def _ranks(stored: Mapping[bytes, combos.Row]) -> dict[bytes, Rank]:
    return {key: Rank(*row) for key, row in stored.items() if row is not None}
