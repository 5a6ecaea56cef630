"""Find nearly equal ones among many perceptual hashes. Pure: numpy in, plain values out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Comparisons in one call: at most half a second on one core, whatever the number of hashes.
MAX_COMPARISONS = 200_000_000
#: Most earlier hashes returned for one: of a hundred similar icons the nearest few suffice.
MAX_EARLIER = 16
#: For a page of text: letters on one letterhead look alike, and their lines are compared only then.
MAX_EARLIER_OF_PAGE = 300
#: Pairs in one call, and those of one more: their lines are compared in half a second.
MAX_PAIRS = 4_000


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """The pairs found.

    Attributes:
        pairs: (place of the earlier hash, place of the later one), by the later one.
        next: the first index that was not examined.
        cut: indices with more earlier lookalikes than were returned.
    """

    pairs: tuple[tuple[int, int], ...]
    next: int
    cut: tuple[int, ...] = ()


def lookalikes(
    hashes: NDArray[np.int64],
    first: int,
    *,
    max_bits: int,
    limit: int,
    pages: NDArray[np.bool_] | None = None,
    max_comparisons: int = MAX_COMPARISONS,
) -> Lookalikes:
    """Find hashes from place `first` on that differ from an earlier one by few bits.

    Stops where `limit` of them were found, or where enough was compared. Of many earlier ones the
    nearest are returned, of equally near ones the oldest.

    Args:
        pages: which hashes are those of pages of text; None: none is.
    """
    pairs: list[tuple[int, int]] = []
    cut: list[int] = []
    found, left, place = 0, max_comparisons, first
    while place < len(hashes) and found < limit and left > 0 and len(pairs) < MAX_PAIRS:
        apart = np.bitwise_count(hashes[:place] ^ hashes[place])
        earlier = np.flatnonzero(apart <= max_bits)
        most = MAX_EARLIER if pages is None or not pages[place] else MAX_EARLIER_OF_PAGE
        if len(earlier) > most:
            cut.append(place)
            earlier = earlier[np.argsort(apart[earlier], kind="stable")[:most]]
        pairs += [(each, place) for each in earlier.tolist()]
        found += bool(len(earlier))
        left -= place
        place += 1
    return Lookalikes(tuple(pairs), place, tuple(cut))
