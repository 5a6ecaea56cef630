"""Accuracy, calibration and the fitted scale."""

import pytest
import torch

from core.vision.scoring import Scale
from training.evaluate import (
    accuracy,
    calibration_error,
    first_tags,
    fitted_scale,
    hit_rows,
    least_score,
    scores_of,
)
from training.words.prompts import BACKGROUND, LABELS, PICTURED


def rows(*tags: str) -> torch.Tensor:
    """Cosines whose best label is the named one."""
    cosines = torch.zeros(len(tags), len(LABELS))
    for place, tag in enumerate(tags):
        cosines[place, LABELS.index(tag)] = 0.5
    return cosines


def test_a_picture_with_two_labels_is_right_with_either() -> None:
    result = accuracy(
        rows("landscape", "cat"), [("beach", "landscape"), ("beach", "landscape")], PICTURED
    )

    assert result.per_label["beach"] == 0.5
    assert result.per_label["landscape"] == 0.5
    assert result.confusion == {("beach", "landscape"): 1, ("beach", "cat"): 1}


def test_macro_accuracy_weighs_labels_and_not_pictures() -> None:
    labels = [("cat",)] * 9 + [("dog",)]

    result = accuracy(rows(*["cat"] * 10), labels, PICTURED)

    assert result.per_label["cat"] == 1
    assert result.per_label["dog"] == 0
    assert result.macro == pytest.approx(1 / len(PICTURED))


def test_labels_outside_the_choice_are_not_elected() -> None:
    assert first_tags(rows("party") + rows("cat") / 2, PICTURED) == ["cat"]
    assert first_tags(rows("party") + rows("cat") / 2, LABELS) == ["party"]


def test_scores_that_say_how_often_they_are_right_have_no_calibration_error() -> None:
    hits = (torch.arange(1000) < 600).float()

    assert calibration_error(torch.full((1000,), 0.6), hits) < 0.01
    assert calibration_error(torch.full((1000,), 0.9), hits) == pytest.approx(0.3, abs=1e-5)


def test_the_fitted_scale_is_low_for_guesses_and_high_for_knowledge() -> None:
    labels = [(LABELS[place % len(LABELS)],) for place in range(140)]
    right = rows(*(names[0] for names in labels))
    half_wrong = right.clone()
    half_wrong[::2] = half_wrong[::2].roll(3, dims=1)
    ground = torch.full((140, len(BACKGROUND)), 0.2)

    assert fitted_scale(half_wrong, ground, labels) < fitted_scale(right, ground, labels) / 2


def test_the_scale_is_fitted_on_pictures_without_a_label_too() -> None:
    labels: list[tuple[str, ...]] = [("cat",)] * 20
    cosines, ground = rows(*["cat"] * 20), torch.full((20, len(BACKGROUND)), 0.1)
    misled = fitted_scale(rows(*["cat"] * 40), ground.repeat(2, 1), [*labels, *[()] * 20])

    assert misled < fitted_scale(cosines, ground, labels)


def test_a_first_tag_that_is_not_given_is_no_hit() -> None:
    assert hit_rows(rows("party", "cat"), [("cat",), ("cat", "dog")]).tolist() == [0.0, 1.0]
    assert hit_rows(torch.zeros(1, len(LABELS)), [(LABELS[0],)]).tolist() == [0.0]


def test_by_threshold_a_picture_near_the_background_gets_no_tag() -> None:
    axes = torch.eye(len(LABELS) + len(BACKGROUND))
    labels, ground = axes[: len(LABELS)], axes[len(LABELS) :]

    given = scores_of(torch.stack([labels[0], ground[0]]), labels, ground, Scale(20.0), "threshold")

    assert given[0, 0] > 0.9
    assert (given[1] == 0).all()


def test_the_least_score_leaves_the_wanted_share_of_pictures_with_a_right_tag() -> None:
    best = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    hits = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])

    least = least_score(best, hits, 0.6)

    assert least == pytest.approx(0.6, abs=0.001)
    assert ((best >= least) * hits).mean() == pytest.approx(0.6)
    assert least_score(best, hits, 0.9) == 0.0  # so many are not right whatever is given
