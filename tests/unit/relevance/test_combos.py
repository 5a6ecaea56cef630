"""The table of best images per label set answers as brute force does, after any history."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from core.relevance.combos import (
    MAX_SIZE,
    accept,
    broken,
    can_win,
    candidates,
    key_of,
    label_ids_of,
    lookup_keys,
    resolve,
    single_keys,
    subset_count,
    subset_limit,
)
from core.relevance.ranking import Rank, ScoredImage, best
from tests.examples import examples

LABELS = range(1, 7)


class HoleMet(Exception):
    """A hole was read, so all images must be searched."""


@dataclass
class ComboTable:
    """The table in memory, used as by the SQL: offer, make holes, repair, look up."""

    max_size: int = MAX_SIZE
    rows: dict[bytes, Rank | None] = field(default_factory=dict)

    def offer(self, batch: Sequence[ScoredImage]) -> None:
        offered = candidates(batch, self._read(single_keys(batch)), max_size=self.max_size)
        self.rows.update(accept(offered.rows, self._read(offered.rows)))

    def drop(self, image_id: int) -> None:
        for key, row in self.rows.items():
            if row is not None and row.image_id == image_id:
                self.rows[key] = None

    def repair(self, images: Iterable[ScoredImage]) -> None:
        for key in [key for key, row in self.rows.items() if row is None]:
            del self.rows[key]
            wanted = set(label_ids_of(key))
            self.offer([i for i in images if wanted <= {label for label, _ in i.scores}])

    def retag(self, image: ScoredImage) -> None:
        held = {
            key: row
            for key, row in self.rows.items()
            if row is not None and row.image_id == image.image_id
        }
        for key in broken(held, [image]):
            self.rows[key] = None
        self.offer([image])

    def answer(self, label_ids: Iterable[int]) -> Rank | None:
        keys = lookup_keys(label_ids)
        found = resolve(keys, self._read(keys))
        if not found.is_known:
            raise HoleMet
        return found.rank

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, Rank | None]:
        return {key: self.rows[key] for key in keys if key in self.rows}


def queries(max_size: int = len(LABELS)) -> list[tuple[int, ...]]:
    return list(chain.from_iterable(combinations(LABELS, n) for n in range(max_size + 1)))


# Few distinct scores and times, so that many sums, times and both are equal.
SCORES = st.dictionaries(st.sampled_from(LABELS), st.integers(0, 4), max_size=5)


@st.composite
def image_lists(draw: st.DrawFn) -> list[ScoredImage]:
    ids = draw(st.lists(st.integers(1, 99), unique=True, max_size=25))
    return [
        ScoredImage(image_id, draw(st.integers(-2, 2)), tuple(draw(SCORES).items()))
        for image_id in ids
    ]


def batches(images: list[ScoredImage], size: int) -> list[list[ScoredImage]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


@settings(max_examples=examples(60, 1000))
@given(image_lists(), st.integers(1, 7))
def test_answers_equal_brute_force_in_any_order_of_arrival(
    images: list[ScoredImage], batch_size: int
) -> None:
    table = ComboTable()

    for batch in batches(images, batch_size):
        table.offer(batch)

    for query in queries():
        assert table.answer(query) == best(images, query)


@settings(max_examples=examples(40, 300))
@given(image_lists(), st.integers(1, 7), st.integers(1, 3))
def test_a_table_of_small_sets_answers_queries_up_to_their_size(
    images: list[ScoredImage], batch_size: int, max_size: int
) -> None:
    table = ComboTable(max_size)

    for batch in batches(images, batch_size):
        table.offer(batch)

    assert all(len(label_ids_of(key)) <= max_size for key in table.rows)
    for query in queries(max_size):
        assert table.answer(query) == best(images, query)


@settings(max_examples=examples(80, 1000))
@given(image_lists(), st.data())
def test_after_deletes_and_new_tags_an_answer_is_right_or_a_hole_says_so(
    images: list[ScoredImage], data: st.DataObject
) -> None:
    table, archive = ComboTable(), {image.image_id: image for image in images}
    table.offer(images)

    for _ in range(data.draw(st.integers(1, 6))):
        if not archive:
            break
        image_id = data.draw(st.sampled_from(sorted(archive)))
        if data.draw(st.booleans()):
            ts = data.draw(st.integers(-2, 2))
            archive[image_id] = ScoredImage(image_id, ts, tuple(data.draw(SCORES).items()))
            table.retag(archive[image_id])
        else:
            table.drop(image_id)
            del archive[image_id]
        if data.draw(st.booleans()):
            table.repair(archive.values())

    for query in queries():
        try:
            assert table.answer(query) == best(archive.values(), query)
        except HoleMet:
            event("hole met")
    table.repair(archive.values())
    for query in queries():
        assert table.answer(query) == best(archive.values(), query)


@settings(max_examples=examples(40, 300))
@given(image_lists())
def test_tagging_again_with_the_same_or_a_better_result_makes_no_hole(
    images: list[ScoredImage],
) -> None:
    table = ComboTable()
    table.offer(images)
    better = [
        ScoredImage(image.image_id, image.ts, tuple((label, s + 1) for label, s in image.scores))
        for image in images
    ]

    for image in [*images, *better]:
        table.retag(image)

    assert None not in table.rows.values()
    for query in queries():
        assert table.answer(query) == best(better, query)


def test_a_holder_that_lost_a_label_a_point_or_its_tags_leaves_a_hole() -> None:
    row = {key_of([1, 2]): Rank(10, 5, 7)}

    assert broken(row, [ScoredImage(7, 5, ((1, 4), (2, 6), (3, 1)))]) == ()
    assert broken(row, [ScoredImage(7, 5, ((1, 10),))]) == (key_of([1, 2]),)
    assert broken(row, [ScoredImage(7, 5, ((1, 4), (2, 5)))]) == (key_of([1, 2]),)
    assert broken(row, [ScoredImage(7, 4, ((1, 4), (2, 6)))]) == (key_of([1, 2]),)
    assert broken(row, []) == (key_of([1, 2]),)


@settings(max_examples=examples(40, 300))
@given(image_lists())
def test_offering_again_changes_nothing(images: list[ScoredImage]) -> None:
    table = ComboTable()
    table.offer(images)
    before = dict(table.rows)

    table.offer(images)

    assert table.rows == before


@settings(max_examples=examples(40, 300))
@given(image_lists())
def test_no_row_is_kept_that_was_beaten_by_a_row_of_its_subsets_when_it_came(
    images: list[ScoredImage],
) -> None:
    table = ComboTable()
    table.offer(images)

    for key, row in table.rows.items():
        ids = label_ids_of(key)
        for smaller in chain.from_iterable(combinations(ids, n) for n in range(1, len(ids))):
            other = table.rows.get(key_of(smaller))
            assert row is not None
            assert other is None or row > other


@settings(max_examples=examples(40, 300))
@given(image_lists(), st.integers(100, 199), st.integers(-2, 2), SCORES)
def test_the_filter_never_stops_a_winner(
    images: list[ScoredImage], image_id: int, ts: int, scores: dict[int, int]
) -> None:
    table, image = ComboTable(), ScoredImage(image_id, ts, tuple(scores.items()))
    table.offer(images)

    winners = [best([*images, image], query) for query in queries()]

    if not can_win(image, table.rows):
        assert all(winner is None or winner.image_id != image_id for winner in winners)


def test_a_hole_is_not_overwritten_and_hides_nothing() -> None:
    image = ScoredImage(1, 0, ((1, 5), (2, 5), (3, 5)))
    stored = {key_of([1, 2]): None}

    offered = candidates([image], stored, max_size=MAX_SIZE)

    accepted = dict(accept(offered.rows, stored))
    assert accepted.keys() == offered.rows.keys() - {key_of([1, 2])}
    assert accepted[key_of([1, 2, 3])] == Rank(15, 0, 1)


def test_labels_whose_own_row_is_a_hole_wait_for_its_repair() -> None:
    only, both = ScoredImage(1, 0, ((1, 5),)), ScoredImage(2, 0, ((1, 5), (2, 5)))

    offered = candidates([only, both], {key_of([1]): None}, max_size=MAX_SIZE)

    assert offered.rows == {key_of([2]): Rank(5, 0, 2)}
    assert offered.passed == 1


def test_upserts_come_in_key_order() -> None:
    offered = candidates([ScoredImage(1, 0, ((3, 1), (300, 1), (1, 1)))], {}, max_size=MAX_SIZE)

    keys = [key for key, _ in accept(offered.rows, {})]

    assert keys == sorted(keys)
    assert len(keys) == 7


def test_the_share_of_images_that_pass_the_filter_is_counted() -> None:
    table = ComboTable()
    table.offer([ScoredImage(9, 9, ((1, 9), (2, 9)))])
    weak, strong = ScoredImage(1, 0, ((1, 4), (2, 5))), ScoredImage(2, 0, ((1, 5), (2, 5)))

    assert candidates([weak, strong], table.rows, max_size=MAX_SIZE).passed == 1


def test_scores_of_zero_leave_no_row() -> None:
    offered = candidates([ScoredImage(1, 0, ((1, 0), (2, 3)))], {}, max_size=MAX_SIZE)

    assert dict(offered.rows) == {key_of([2]): Rank(3, 0, 1)}


def test_a_key_is_the_ascending_ids_in_two_bytes_each() -> None:
    assert key_of([300, 1, 300]) == bytes([0, 1, 1, 44])
    assert label_ids_of(key_of([300, 1])) == (1, 300)
    assert key_of([]) == b""


@pytest.mark.parametrize("label_id", [0, -1, 2**15])
def test_ids_that_the_column_cannot_hold_are_refused(label_id: int) -> None:
    with pytest.raises(ValueError, match=str(label_id)):
        key_of([1, label_id])


def test_a_query_looks_up_every_subset_once() -> None:
    keys = lookup_keys([3, 1, 2, 3])

    assert len(keys) == len(set(keys)) == 7
    assert key_of([1, 3]) in keys
    assert lookup_keys([]) == ()


def test_a_query_for_too_many_labels_asks_the_images() -> None:
    assert len(lookup_keys(range(1, MAX_SIZE + 1))) == 1023
    with pytest.raises(ValueError, match="11 labels"):
        lookup_keys(range(1, MAX_SIZE + 2))


@pytest.mark.parametrize(
    ("label_count", "is_softmax", "limit"),
    [
        (4, True, 10),
        (5, False, 10),
        (6, True, 3),
        (11, True, 3),
        (12, True, 2),
        (6, False, 2),
        (22, True, 2),
        (23, True, 1),
        (30_000, False, 1),
    ],
)
def test_images_with_many_labels_keep_small_sets_only(
    label_count: int,
    is_softmax: bool,  # noqa: FBT001 a parameter of the table above
    limit: int,
) -> None:
    image = ScoredImage(1, 0, tuple((label, 1) for label in range(1, label_count + 1)))

    assert subset_limit(label_count, is_softmax=is_softmax) == limit
    rows = candidates([image], {}, max_size=limit).rows
    assert len(rows) == subset_count(label_count, limit)


def test_an_image_with_too_many_subsets_is_refused_before_they_are_made() -> None:
    image = ScoredImage(7, 0, tuple((label, 1) for label in range(1, 31)))

    with pytest.raises(ValueError, match="image 7: 30 labels"):
        candidates([image], {}, max_size=MAX_SIZE)
