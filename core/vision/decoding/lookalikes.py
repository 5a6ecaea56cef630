"""Find nearly equal ones among many perceptual hashes. Pure: numpy in, plain values out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Comparisons in one call: at most half a second on one core, whatever the number of hashes.
MAX_COMPARISONS = 200_000_000
#: Most earlier hashes returned for one: of a hundred similar icons the first few suffice.
MAX_EARLIER = 16


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
    max_comparisons: int = MAX_COMPARISONS,
) -> Lookalikes:
    """Find hashes from place `first` on that differ from an earlier one by few bits.

    Stops where `limit` of them were found, or where enough was compared.
    """
    pairs: list[tuple[int, int]] = []
    cut: list[int] = []
    found, left, place = 0, max_comparisons, first
    while place < len(hashes) and found < limit and left > 0:
        apart = np.bitwise_count(hashes[:place] ^ hashes[place])
        earlier = np.flatnonzero(apart <= max_bits)
        pairs += [(each, place) for each in earlier[:MAX_EARLIER].tolist()]
        if len(earlier) > MAX_EARLIER:
            cut.append(place)
        found += bool(len(earlier))
        left -= place
        place += 1
    return Lookalikes(tuple(pairs), place, tuple(cut))
