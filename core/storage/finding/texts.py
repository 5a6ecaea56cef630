"""Whether two pages of text are different ones, by what their lines look like.

Letters on one letterhead are alike to a model and to a perceptual hash. A page has 8 bytes for each
line, with a bit for each place that has ink: those of one page scanned twice hardly differ. Why
these figures: docs/decisions/0046-lines-of-text.md.
"""

from collections.abc import Sequence

#: Of each line.
LINE_BYTES = 8
#: Two lines are the same where at most a quarter of the bits that both have, taken together, are
#: in one of them alone.
_SAME_PARTS = 4
#: Pages differ by at least so many lines that only one of them has, and by a part of them all: in
#: scans a line here and there is not found, or is cut differently.
LEAST_LONE, LONE_PART = 4, 6


def texts_differ(one: bytes | None, other: bytes | None) -> bool:
    """Return whether both are pages of text, and not of the same text."""
    if one is None or other is None or one == other:
        return False
    lines, others = _lines(one), _lines(other)
    both = len(lines) + len(others)
    lone = both - 2 * _in_common(lines, others)
    return lone >= LEAST_LONE and lone * LONE_PART >= both


def _lines(page: bytes) -> Sequence[int]:
    places = range(0, len(page), LINE_BYTES)
    return [int.from_bytes(page[at : at + LINE_BYTES], "big") for at in places]


def _in_common(lines: Sequence[int], others: Sequence[int]) -> int:
    """Return how many lines two pages have in common, in the same order.

    The longest common subsequence by a bit for each line of the other page (Hyyrö, "Bit-parallel
    LCS-length computation revisited", 2004).
    """
    sizes = [line.bit_count() for line in others]
    every = left = (1 << len(others)) - 1
    for line in lines:
        size, same = line.bit_count(), 0
        for at, other in enumerate(others):
            if _SAME_PARTS * (line ^ other).bit_count() <= size + sizes[at]:
                same |= 1 << at
        taken = left & same
        left = ((left + taken) | (left - taken)) & every
    return len(others) - left.bit_count()
