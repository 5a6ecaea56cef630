"""What the losses ask for."""

import pytest
import torch

from training.objective import Objective, log_prior, truth_of
from training.words.names import Kinds, PictureKind
from training.words.prompts import BACKGROUND, LABELS

NAMES = ("bird", "cat", "pan")
KINDS = Kinds(
    (
        PictureKind(("cat",), (), ("cat",)),
        PictureKind(("bird",), (), ()),
        PictureKind(("pan",), (), None),
    ),
    (0, 1, 2),
)
TRUTH = truth_of(KINDS, NAMES)
ALL = torch.arange(len(NAMES))


def loss(kind: int, **logits: float) -> float:
    """Return the loss of one picture; logits by label, by `ground` and by name_NAME."""
    row = torch.zeros(1, len(LABELS) + len(BACKGROUND) + len(NAMES))
    for name, value in logits.items():
        if name == "ground":
            row[0, len(LABELS) : len(LABELS) + len(BACKGROUND)] = value
        elif name.startswith("name_"):
            row[0, len(LABELS) + len(BACKGROUND) + NAMES.index(name.removeprefix("name_"))] = value
        else:
            row[0, LABELS.index(name)] = value
    objective = Objective(TRUTH, torch.zeros(len(LABELS)))
    return float(objective.loss(row, torch.tensor([kind]), ALL))


def test_a_picture_of_a_label_wants_that_label_over_the_others_and_the_background() -> None:
    assert loss(0, cat=5.0) < loss(0) < loss(0, dog=5.0)
    assert loss(0, cat=5.0) < loss(0, cat=5.0, ground=9.0)


def test_a_picture_without_a_label_wants_none_to_win_and_the_background_above_them() -> None:
    assert loss(1, ground=5.0) < loss(1) < loss(1, sport=5.0)


def test_a_picture_that_may_show_a_label_is_taught_nothing_about_labels() -> None:
    assert loss(2, food=5.0) == pytest.approx(loss(2))


def test_the_true_name_is_wanted_over_the_false_ones() -> None:
    assert loss(1, name_bird=5.0) < loss(1) < loss(1, name_pan=5.0)


def test_labels_without_pictures_get_the_mean_prior() -> None:
    prior = log_prior(TRUTH, torch.tensor([8.0, 1.0, 1.0]))

    pictured = [prior[at] for at, label in enumerate(LABELS) if label == "cat"]
    assert prior[LABELS.index("party")] < pictured[0]
    assert torch.isfinite(prior).all()
