"""Accuracy, calibration and the fitted scale."""

import pytest
import torch

from training.evaluate import (
    PICTURED,
    accuracy,
    calibration_error,
    first_tags,
    fitted_scale,
    hit_rows,
)
from training.prompts import LABELS


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
    cosines = torch.zeros(1000, len(LABELS))
    cosines[:, 0] = 1.0
    score = float((3.0 * cosines[0]).softmax(0).max())
    hits = (torch.arange(1000) < score * 1000).float()

    assert calibration_error(cosines, hits, 3.0) < 0.01
    assert calibration_error(cosines, hits, 30.0) > 0.3


def test_the_fitted_scale_is_low_for_guesses_and_high_for_knowledge() -> None:
    labels = [(LABELS[place % len(LABELS)],) for place in range(140)]
    right = rows(*(names[0] for names in labels))
    half_wrong = right.clone()
    half_wrong[::2] = half_wrong[::2].roll(3, dims=1)

    assert fitted_scale(half_wrong, labels) < fitted_scale(right, labels) / 2


def test_hits_are_counted_among_all_fourteen() -> None:
    assert hit_rows(rows("party", "cat"), [("cat",), ("cat", "dog")]).tolist() == [0.0, 1.0]
