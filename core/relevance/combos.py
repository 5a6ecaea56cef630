"""The best image per set of labels, kept so that a query reads a few keys instead of all images.

For an image with labels T and a query Q the sum is that of S = T ∩ Q, so the answer to Q is the
greatest of best(S) over the non-empty S ⊆ Q, where best(S) is over the images that have all of S.
A row for S that does not beat the row of one of its subsets is left out: who reads S reads the
subset too. All comparisons are of `Rank`s, so the tie-break is exact.

A row is `key -> Rank`; `key -> None` is a hole: its winner was deleted or tagged again, and a query
that meets it asks the images themselves. These functions decide; the SQL around them is in
`core.storage`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TypeVar

from core.relevance.ranking import Rank, ScoredImage

#: Greatest number of labels that a query may look up (1,023 keys: 3 ms), so also the greatest size
#: of a set worth keeping: with it, the rows are complete for every query that may ask them.
MAX_SIZE = 10
_MAX_SUBSETS = 2**MAX_SIZE - 1  # per image
_FEW_LABELS = 5  # 31 subsets
#: Per image. Measured on a filling table, 10 tags of 1,000 labels, 64 images: all subsets take
#: 78 to 253 ms and make 20 k to 514 k rows of 8 k images, triples 9 to 26 ms and 4 k to 69 k rows.
_SUBSETS_WORTH_IT = 255
_ID_BYTES = 2  # label ids are int2 in PostgreSQL
_MAX_ID = 2**15 - 1
_NOTHING = Rank(0, -(2**31), 0)  # less than any image that has a score

Rows = Mapping[bytes, Rank | None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What rows say about a query.

    Attributes:
        is_known: False where a hole was met: the images themselves must be asked.
        rank: the best image; None where no image has any of the labels.
    """

    is_known: bool
    rank: Rank | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a batch of images might win.

    Attributes:
        rows: the batch's best image per set of labels.
        passed: number of images that passed the filter (`can_win`). Where it stays over a fifth of
            all images once some 10,000 are stored, the scores are not of the kind that pruning
            thins out (54 to 99 % pass with independent scores, 2 % with a softmax's): lower the
            table's limit to what `subset_limit` gives without a softmax.
    """

    rows: Mapping[bytes, Rank]
    passed: int


def key_of(label_ids: Iterable[int]) -> bytes:
    """Return the key of a set of labels: ascending ids, two bytes each, big endian.

    Raises:
        ValueError: an id is not in 1..32767.
    """
    ids = sorted(set(label_ids))
    if ids and not 1 <= ids[0] <= ids[-1] <= _MAX_ID:
        raise ValueError(f"label ids {ids[0]}..{ids[-1]} are not within 1..{_MAX_ID}")
    return b"".join(label_id.to_bytes(_ID_BYTES, "big") for label_id in ids)


def label_ids_of(key: bytes) -> tuple[int, ...]:
    """Return the ascending label ids of a key."""
    return tuple(
        int.from_bytes(key[start : start + _ID_BYTES], "big")
        for start in range(0, len(key), _ID_BYTES)
    )


def subset_limit(label_count: int, *, is_softmax: bool) -> int:
    """Return the greatest size of sets to keep for an image with so many scored labels.

    All sets where they are few: at most 5 labels. Else triples if a softmax made the scores (few of
    its images pass `can_win` once the table has filled), else pairs; single labels where even those
    are many. A table keeps the least limit of all its images; lowering it is safe at any time,
    raising it takes a rebuild. Larger queries ask the images themselves.
    """
    if label_count <= _FEW_LABELS:
        return MAX_SIZE
    sizes = (3, 2) if is_softmax else (2,)
    return next((n for n in sizes if subset_count(label_count, n) <= _SUBSETS_WORTH_IT), 1)


def subset_count(label_count: int, max_size: int) -> int:
    """Return how many non-empty subsets of at most `max_size` so many labels have."""
    return sum(comb(label_count, size) for size in range(1, min(max_size, label_count) + 1))


def lookup_keys(label_ids: Iterable[int]) -> tuple[bytes, ...]:
    """Return the keys that a query must read: of all non-empty subsets of its labels.

    Raises:
        ValueError: more than `MAX_SIZE` labels: such a query asks the images themselves.
    """
    ids = sorted(set(label_ids))
    if len(ids) > MAX_SIZE:
        raise ValueError(f"{len(ids)} labels are over the limit of {MAX_SIZE}")
    return tuple(key_of(subset) for subset in _subsets(ids, MAX_SIZE))


def resolve(keys: Iterable[bytes], rows: Rows) -> Resolved:
    """Return the best of the rows that a query must read (`lookup_keys`)."""
    found = [rows[key] for key in keys if key in rows]
    ranks = [row for row in found if row is not None]
    if len(ranks) < len(found):
        return Resolved(is_known=False)
    return Resolved(is_known=True, rank=max(ranks, default=None))


def broken(rows: Mapping[bytes, Rank], images: Iterable[ScoredImage]) -> tuple[bytes, ...]:
    """Return the rows whose holders are not as good any more as the rows say, in key order.

    A holder that is as good or better keeps its row (tagging again with the same result makes no
    hole): the row hides nothing that it should not, and offering the image raises it.

    Args:
        rows: rows held by images that were tagged again or deleted.
        images: these images as they are now; deleted ones are absent.
    """
    now = {image.image_id: image for image in images}
    return tuple(sorted(k for k, row in rows.items() if not _holds(now.get(row.image_id), k, row)))


def _holds(image: ScoredImage | None, key: bytes, row: Rank) -> bool:
    if image is None:
        return False
    scores = dict(image.scores)
    ids = label_ids_of(key)
    if not scores.keys() >= set(ids):
        return False
    return Rank(sum(scores[label_id] for label_id in ids), image.ts, image.image_id) >= row


def single_keys(images: Iterable[ScoredImage]) -> tuple[bytes, ...]:
    """Return the keys of the single labels of a batch: the rows that `candidates` needs."""
    labels = {label for image in images for label, _ in image.scores}
    return tuple(key_of([label]) for label in sorted(labels))


def can_win(image: ScoredImage, singles: Rows) -> bool:
    """Whether the image may be the best for some set of its labels, in O(K log K).

    If it beats the rows of all single labels of a set S, then so it does for S together with all
    labels whose rows are no better than the best of those: scores are not negative. So only the
    prefixes of the labels in order of their rows need a look. Never wrong when it says no.

    Labels whose row is a hole do not count: who asks for them asks the images, and the repair of
    the hole looks through all that have the label. After a change of labels most images would pass.
    """
    bars = sorted((singles.get(key) or _NOTHING, score) for key, score in _offered(image, singles))
    total = 0
    for bar, score in bars:
        total += score
        if Rank(total, image.ts, image.image_id) > bar:
            return True
    return False


def candidates(images: Iterable[ScoredImage], singles: Rows, *, max_size: int) -> Candidates:
    """Return the rows that a batch might win, knowing only the stored rows of single labels.

    Scores of 0 are left out: they change no sum. So are labels whose row is a hole (`can_win`).

    Args:
        singles: stored rows of `single_keys(images)`, holes included.
        max_size: the table's limit, at most `subset_limit` of every image.

    Raises:
        ValueError: an image has more subsets than one transaction should write.
    """
    rows: dict[bytes, Rank] = {}
    passed = 0
    for image in images:
        if not can_win(image, singles):
            continue
        passed += 1
        for key, rank in _offers(image, singles, max_size):
            if rows.get(key, _NOTHING) < rank:
                rows[key] = rank
    return Candidates(rows, passed)


def accept(offered: Mapping[bytes, Rank], stored: Rows) -> tuple[tuple[bytes, Rank], ...]:
    """Return the rows to upsert, in key order (which keeps concurrent writers from deadlock).

    A row is accepted where it beats the stored row of its set and every stored or accepted row of
    its subsets. A hole is never overwritten, and hides nothing.

    Args:
        offered: `Candidates.rows`: with a set, all its subsets are in it.
        stored: the stored rows of the offered keys, holes included.
    """
    reach: dict[bytes, Rank] = {}  # the best that a reader of this key and its subsets finds
    accepted: list[tuple[bytes, Rank]] = []
    for key in sorted(offered, key=len):
        bar = max((reach[subset] for subset in _one_less(key)), default=_NOTHING)
        row = stored.get(key, _NOTHING)
        bar = bar if row is None else max(bar, row)
        if row is not None and offered[key] > bar:
            accepted.append((key, offered[key]))
            bar = offered[key]
        reach[key] = bar
    return tuple(sorted(accepted))


def _offered(image: ScoredImage, singles: Rows) -> list[tuple[bytes, int]]:
    """Return (key of the single label, score) of the labels that count, in key order.

    Not by `key_of`, which sorts and checks: this runs for every image of a re-score.
    """
    keyed = [
        (label.to_bytes(_ID_BYTES, "big"), score) for label, score in image.scores if score > 0
    ]
    return sorted(
        (key, score) for key, score in keyed if key not in singles or singles[key] is not None
    )


def _offers(image: ScoredImage, singles: Rows, max_size: int) -> Iterator[tuple[bytes, Rank]]:
    scored = _offered(image, singles)
    if max_size > 1 and subset_count(len(scored), max_size) > _MAX_SUBSETS:
        raise ValueError(
            f"image {image.image_id}: {len(scored)} labels have more than {_MAX_SUBSETS} subsets "
            f"of at most {max_size}; lower the table's limit first"
        )
    for subset in _subsets(scored, max_size):
        total = sum(score for _, score in subset)
        yield b"".join(key for key, _ in subset), Rank(total, image.ts, image.image_id)


def _one_less(key: bytes) -> Iterator[bytes]:
    """Return the keys of the sets with one label less; none for a single label."""
    if len(key) > _ID_BYTES:
        for start in range(0, len(key), _ID_BYTES):
            yield key[:start] + key[start + _ID_BYTES :]


def _subsets(items: Sequence[Item], max_size: int) -> Iterator[tuple[Item, ...]]:
    for size in range(1, min(max_size, len(items)) + 1):
        yield from combinations(items, size)
