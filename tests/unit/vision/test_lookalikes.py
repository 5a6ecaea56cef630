"""Nearly equal hashes among many, compared with brute force."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.decoding.lookalikes import (
    MAX_EARLIER,
    MAX_EARLIER_OF_PAGE,
    MAX_PAIRS,
    Lookalikes,
    lookalikes,
)

BITS = 6


def some(seed: int, count: int) -> list[int]:
    """Return hashes, every third a copy of an earlier one with up to 12 bits changed."""
    chance = random.Random(seed)
    made = [chance.getrandbits(63)]
    while len(made) < count:
        value = chance.getrandbits(63)
        if len(made) % 3 == 0:
            value = chance.choice(made)
            for bit in chance.sample(range(63), chance.randint(0, 12)):
                value ^= 1 << bit
        made.append(value)
    return made


def array(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_all_close_pairs_are_found_and_no_others(seed: int) -> None:
    values = some(seed, 120)
    expected = {
        (one, other)
        for other in range(120)
        for one in range(other)
        if (values[one] ^ values[other]).bit_count() <= BITS
    }
    assert expected

    found = lookalikes(array(values), 0, max_bits=BITS, limit=1000)

    assert set(found.pairs) == expected
    assert len(found.pairs) == len(expected)
    assert found.next == 120


@pytest.mark.parametrize("limit", [1, 3, 1000])
@pytest.mark.parametrize("max_comparisons", [1, 500, 10**6])
def test_pages_add_up_to_the_whole(limit: int, max_comparisons: int) -> None:
    hashes = array(some(7, 120))
    whole = lookalikes(hashes, 0, max_bits=BITS, limit=1000)
    pairs: list[tuple[int, int]] = []
    place = 0
    while place < len(hashes):
        page = lookalikes(
            hashes, place, max_bits=BITS, limit=limit, max_comparisons=max_comparisons
        )
        assert page.next > place, "each page goes on"
        assert len({newer for _, newer in page.pairs}) <= limit
        pairs += page.pairs
        place = page.next

    assert tuple(pairs) == whole.pairs


def test_of_many_alike_the_oldest_are_given() -> None:
    found = lookalikes(array([5] * 100), 99, max_bits=0, limit=10)

    assert found.pairs == tuple((place, 99) for place in range(MAX_EARLIER))


def test_where_more_are_alike_than_are_given_is_told() -> None:
    found = lookalikes(array([5] * (MAX_EARLIER + 3)), 0, max_bits=0, limit=1000)

    assert found.cut == (MAX_EARLIER + 1, MAX_EARLIER + 2)


def test_of_many_alike_the_nearest_are_given_wherever_they_stand() -> None:
    values = [0b111] * 50 + [0b1] * 3 + [0b11] * 40
    found = lookalikes(array([*values, 0]), len(values), max_bits=BITS, limit=10)

    assert found.pairs == tuple((place, 93) for place in range(50, 50 + MAX_EARLIER))
    assert found.cut == (93,)


def test_a_page_of_text_gets_hundreds_and_a_call_ends_behind_enough_pairs() -> None:
    count = MAX_EARLIER_OF_PAGE + 100
    pages = np.arange(count) != count - 2
    found = lookalikes(
        array([5] * count), count - 3, max_bits=0, limit=10, max_comparisons=10**9, pages=pages
    )
    of_each = [sum(newer == place for _, newer in found.pairs) for place in range(count)]
    first = lookalikes(array([5] * count), 0, max_bits=0, limit=count, pages=pages)

    assert of_each[-3:] == [MAX_EARLIER_OF_PAGE, MAX_EARLIER, MAX_EARLIER_OF_PAGE]
    assert found.cut == (count - 3, count - 2, count - 1)
    assert MAX_PAIRS <= len(first.pairs) < MAX_PAIRS + MAX_EARLIER_OF_PAGE
    assert first.next < count


def test_nothing_is_like_nothing() -> None:
    assert lookalikes(array([]), 0, max_bits=BITS, limit=10) == Lookalikes((), 0)
    assert lookalikes(array([1]), 0, max_bits=BITS, limit=10) == Lookalikes((), 1)
    assert lookalikes(array([1]), 7, max_bits=BITS, limit=10) == Lookalikes((), 7)
