# ruff: noqa: DTZ001  EXIF times have no zone
"""The reference ranking, and recency."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from core.relevance.ranking import Rank, ScoredImage, best, best_n, recency

NOW = datetime(2024, 6, 1, tzinfo=UTC)
CREATED = datetime(2024, 5, 1, tzinfo=UTC)


def seconds(moment: datetime) -> int:
    return int((moment - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds())


@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        (None, seconds(CREATED)),
        (datetime(2020, 1, 1, 12, 30, 15), seconds(datetime(2020, 1, 1, 12, 30, 15, tzinfo=UTC))),
        (
            datetime(2020, 1, 1, 3, tzinfo=timezone(timedelta(hours=3))),
            seconds(datetime(2020, 1, 1, tzinfo=UTC)),
        ),
        (datetime(2024, 6, 1), seconds(NOW)),
        (datetime(2024, 6, 1, 0, 0, 1), seconds(CREATED)),
        (datetime(9999, 12, 31, 23, 59, 59), seconds(CREATED)),
        (datetime(1999, 12, 31, 23, 59, 59), -1),
        (datetime(1999, 12, 31, 23, 59, 59, 500_000), -1),
        (datetime(1, 1, 1), -(2**31)),
    ],
)
def test_an_image_is_as_new_as_its_shot_unless_that_lies_in_the_future(
    exif: datetime | None, expected: int
) -> None:
    assert recency(exif, CREATED, NOW) == expected


def test_times_after_2068_are_clamped_to_what_the_column_holds() -> None:
    late = datetime(2100, 1, 1, tzinfo=UTC)

    assert recency(None, late, late) == 2**31 - 1


def test_a_row_time_without_zone_is_utc() -> None:
    assert recency(None, CREATED.replace(tzinfo=None), NOW) == seconds(CREATED)


IMAGES = (
    ScoredImage(1, 10, ((1, 500_000), (2, 400_000))),
    ScoredImage(2, 20, ((1, 900_000),)),
    ScoredImage(3, 20, ((1, 400_000), (2, 500_000))),
    ScoredImage(4, 20, ((3, 900_000), (1, 0))),
    ScoredImage(5, 5, ((2, 0),)),
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({1}, Rank(900_000, 20, 2)),
        ({2}, Rank(500_000, 20, 3)),
        ({1, 2}, Rank(900_000, 20, 3)),  # 1, 2 and 3 tie; 2 and 3 are newest; 3 is greater
        ({1, 2, 3}, Rank(900_000, 20, 4)),
        ({9}, None),
        (set(), None),
    ],
)
def test_the_best_has_the_greatest_sum_then_is_newest_then_has_the_greatest_id(
    labels: set[int], expected: Rank | None
) -> None:
    assert best(IMAGES, labels) == expected


def test_repeated_labels_count_once() -> None:
    assert best(IMAGES, [2, 2, 2]) == Rank(500_000, 20, 3)


def test_an_image_whose_scores_are_zero_is_no_answer() -> None:
    assert best([IMAGES[4]], {2}) is None


def test_the_best_few_come_best_first() -> None:
    assert [rank.image_id for rank in best_n(IMAGES, {1, 2}, 3)] == [3, 2, 1]
    assert len(best_n(IMAGES, {1, 2}, 99)) == 3
