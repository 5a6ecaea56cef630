"""The best image per set of labels: a query reads a few rows instead of all images.

The score of an image with labels T for a query Q is its sum over S = T ∩ Q. So the answer to Q is
the greatest best(S) over the non-empty S ⊆ Q, where best(S) is the best image that has all of S.
A row for S that does not beat the row of one of its subsets is left out, since a query that reads
S also reads its subsets. All comparisons are of `Rank`s, so the tie-break is exact.

A row is `key -> Rank`. `key -> None` is a hole: the row's winner was deleted or tagged again, and
a query that reads a hole falls back to exact SQL over all images. These functions are pure; the
SQL around them is in `core.storage`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TypeVar

from core.relevance.ranking import Rank, ScoredImage

#: Greatest number of labels that a query may look up here (1,023 keys: 3 ms). Larger sets are not
#: kept either, since no query would read them.
MAX_SIZE = 10
_MAX_SUBSETS = 2**MAX_SIZE - 1  # per image
_FEW_LABELS = 5  # 31 subsets
#: Per image. Measured while a table fills, with 10 tags of 1,000 labels: all subsets take 78 to
#: 253 ms per 64 images and make 20 k to 514 k rows for 8 k images; triples take 9 to 26 ms and make
#: 4 k to 69 k rows.
_SUBSETS_WORTH_IT = 255
_ID_BYTES = 2  # label ids are int2 in PostgreSQL
_MAX_ID = 2**15 - 1
_NOTHING = Rank(0, -(2**31), 0)  # less than any image that has a score

Rows = Mapping[bytes, Rank | None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Resolved:
    """The result of a lookup.

    Attributes:
        is_known: False where a hole was read; exact SQL over all images must answer instead.
        rank: the best image; None where no image has any of the labels.
    """

    is_known: bool
    rank: Rank | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """The rows that a batch of images may improve.

    Attributes:
        rows: the batch's best image per set of labels.
        passed: number of images that passed the filter (`can_win`). If more than a fifth of all
            images still pass once some 10,000 are stored, the filter does not help with such scores
            (54 to 99 % pass with independent scores, 2 % with softmax scores): lower the table's
            limit to what `subset_limit` gives without a softmax.
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

    With at most 5 labels all sets are kept. With more, sets of three if a softmax made the scores
    (few images pass `can_win` once the table has filled), else pairs, and single labels where even
    those would be too many. The limit of a table is the least limit of its images. It may be
    lowered at any time; raising it takes a rebuild. Larger queries use exact SQL over all images.
    """
    if label_count <= _FEW_LABELS:
        return MAX_SIZE
    sizes = (3, 2) if is_softmax else (2,)
    return next((n for n in sizes if subset_count(label_count, n) <= _SUBSETS_WORTH_IT), 1)


def subset_count(label_count: int, max_size: int) -> int:
    """Return the number of non-empty subsets of at most `max_size` out of `label_count` labels."""
    return sum(comb(label_count, size) for size in range(1, min(max_size, label_count) + 1))


def lookup_keys(label_ids: Iterable[int]) -> tuple[bytes, ...]:
    """Return the keys that a query must read: those of all non-empty subsets of its labels.

    Raises:
        ValueError: more than `MAX_SIZE` labels; such a query uses exact SQL over all images.
    """
    ids = sorted(set(label_ids))
    if len(ids) > MAX_SIZE:
        raise ValueError(f"{len(ids)} labels are over the limit of {MAX_SIZE}")
    return tuple(key_of(subset) for subset in _subsets(ids, MAX_SIZE))


def resolve(keys: Iterable[bytes], rows: Rows) -> Resolved:
    """Return the best of the rows under the keys that a query reads (`lookup_keys`)."""
    found = [rows[key] for key in keys if key in rows]
    ranks = [row for row in found if row is not None]
    if len(ranks) < len(found):
        return Resolved(is_known=False)
    return Resolved(is_known=True, rank=max(ranks, default=None))


def broken(rows: Mapping[bytes, Rank], images: Iterable[ScoredImage]) -> tuple[bytes, ...]:
    """Return the keys of rows whose winner is no longer as good as the row says, in key order.

    A winner that is as good as before or better keeps its row, so tagging again with the same
    result makes no hole: such a row hides no better image, and offering the image raises it.

    Args:
        rows: rows whose winner was tagged again or deleted.
        images: the winners as they are now; deleted ones are absent.
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
    """Return the keys of the single labels of a batch; `candidates` needs their rows."""
    labels = {label for image in images for label, _ in image.scores}
    return tuple(key_of([label]) for label in sorted(labels))


def can_win(image: ScoredImage, singles: Rows) -> bool:
    """Return whether the image may be the best for some set of its labels, in O(K log K).

    If its sum over a set S beats the rows of all single labels in S, then so does its sum over S
    and all labels whose rows are no better than the best of those, since no score is negative. So
    it is enough to try the prefixes of the labels sorted by their rows. A "no" is always right.

    Labels whose row is a hole are ignored: queries for them use exact SQL, and repairing the hole
    examines all images with the label. Otherwise most images would pass after the labels changed.
    """
    bars = sorted((singles.get(key) or _NOTHING, score) for key, score in _offered(image, singles))
    total = 0
    for bar, score in bars:
        total += score
        if Rank(total, image.ts, image.image_id) > bar:
            return True
    return False


def candidates(images: Iterable[ScoredImage], singles: Rows, *, max_size: int) -> Candidates:
    """Return the rows that a batch may win, judged by the stored rows of single labels alone.

    Scores of 0 are ignored: they change no sum. So are labels whose row is a hole (`can_win`).

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
    its subsets. A hole is never overwritten and beats no row.

    Args:
        offered: `Candidates.rows`; where it has a set, it has all its subsets.
        stored: the stored rows of the offered keys, holes included.
    """
    best: dict[bytes, Rank] = {}  # key -> the best row among it and its subsets
    accepted: list[tuple[bytes, Rank]] = []
    for key in sorted(offered, key=len):
        bar = max((best[subset] for subset in _one_less(key)), default=_NOTHING)
        row = stored.get(key, _NOTHING)
        bar = bar if row is None else max(bar, row)
        if row is not None and offered[key] > bar:
            accepted.append((key, offered[key]))
            bar = offered[key]
        best[key] = bar
    return tuple(sorted(accepted))


def _offered(image: ScoredImage, singles: Rows) -> list[tuple[bytes, int]]:
    """Return (key of the single label, score) of the labels not ignored, in key order.

    It does not call `key_of`, which sorts and checks: this runs for every image of a re-score.
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
    """Return the keys of the sets with one label fewer; none for a single label."""
    if len(key) > _ID_BYTES:
        for start in range(0, len(key), _ID_BYTES):
            yield key[:start] + key[start + _ID_BYTES :]


def _subsets(items: Sequence[Item], max_size: int) -> Iterator[tuple[Item, ...]]:
    for size in range(1, min(max_size, len(items)) + 1):
        yield from combinations(items, size)
