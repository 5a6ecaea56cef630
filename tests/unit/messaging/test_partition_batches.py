"""Stretches: what is split goes on where the first part ends; moves cover what they hold."""

from hypothesis import given
from hypothesis import strategies as st

from core.messaging.batching import PartitionBatch, plan_moves, size_of
from schemas.record import Partition, Record

P0, P1 = Partition("t", 0), Partition("t", 1)


def stretch(*offsets: int, partition: Partition = P0, after: int | None = None) -> PartitionBatch:
    start = offsets[0] if after is None else after
    records = [(offset, 0, Record("t", None, (), bytes(offset))) for offset in offsets]
    return PartitionBatch(partition, 1, start, offsets[-1] + 1, records, size_of(records))


def test_the_size_is_of_keys_headers_and_values() -> None:
    record = Record("t", b"key", (("ce_id", b"1"), ("ce_type", b"2")), b"value")
    bare = Record("t", None, (), b"")

    assert size_of([(0, 0, record)]) == 3 + 5 + 3 * 64
    assert size_of([(0, 0, record), (1, 0, bare)]) == 3 + 5 + 4 * 64


def test_what_is_split_behind_a_gap_goes_on_where_the_first_part_ends() -> None:
    front, back = stretch(4, 5, 9, 10, after=2).split(2)

    assert (front.from_offset, front.to_offset) == (2, 6)
    assert (back.from_offset, back.to_offset) == (6, 11)


@given(
    offsets=st.lists(st.integers(0, 30), min_size=2, max_size=8, unique=True).map(sorted),
    cut=st.integers(1, 7),
)
def test_two_parts_are_the_whole(offsets: list[int], cut: int) -> None:
    whole = stretch(*offsets, after=0)
    front, back = whole.split(min(cut, len(whole) - 1))

    assert [*front.records, *back.records] == whole.records
    assert (front.size, back.size) == (size_of(front.records), size_of(back.records))
    assert plan_moves([front, back]) == plan_moves([whole])


@given(
    offsets=st.lists(st.integers(0, 90), min_size=1, max_size=8, unique=True).map(sorted),
    max_records=st.integers(1, 9),
    max_bytes=st.integers(0, 700),
)
def test_what_fits_is_the_most_that_keeps_both_bounds(
    offsets: list[int], max_records: int, max_bytes: int
) -> None:
    whole = stretch(*offsets)

    fitting = whole.fitting(max_records, max_bytes)

    assert fitting <= max_records
    assert size_of(whole.records[:fitting]) <= max_bytes or not fitting
    one_more = whole.records[: fitting + 1]
    assert fitting in (max_records, len(whole)) or size_of(one_more) > max_bytes


def test_moves_span_gaps_and_come_sorted() -> None:
    moves = plan_moves(
        [stretch(5, partition=P1), stretch(9, after=7), stretch(6, partition=P1), stretch(10)]
    )

    assert [tuple(move) for move in moves] == [(P0, 1, 7, 11), (P1, 1, 5, 7)]
