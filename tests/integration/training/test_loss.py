"""Targets, text bank and objective."""

import math

import pytest
import torch

from training.augment import Mix
from training.loss import (
    SMOOTHING,
    TextBank,
    log_prior,
    objective_of,
    soft_cross_entropy,
    targets_of,
    vocabulary_of,
)
from training.network import tokenizer
from training.pictures import LabelledPicture
from training.prompts import LABELS, WITHOUT_PICTURES


def picture(labels: tuple[str, ...], caption: str, words: tuple[str, ...] = ()) -> LabelledPicture:
    return LabelledPicture(
        "a.zip", "a.jpg", f"repo/{caption}", labels, caption, f"a {caption}", words
    )


PICTURES = (
    picture(("cat",), "tabby", ("cat", "pet")),
    picture(("dog",), "poodle", ("dog", "pet")),
    picture((), "teapot"),
    *(picture((label,), label) for label in LABELS if label not in WITHOUT_PICTURES),
)


def test_a_picture_without_labels_points_to_the_background_only() -> None:
    targets = targets_of(PICTURES, vocabulary_of(PICTURES))

    assert targets.labels[2].sum() == 0
    assert targets.background[2, -1] == 1
    assert targets.background[0, -1] == 0
    assert torch.allclose(targets.background.sum(1), torch.ones(len(PICTURES)))


def test_words_share_a_picture_equally() -> None:
    vocabulary = vocabulary_of(PICTURES)
    targets = targets_of(PICTURES, vocabulary)

    assert vocabulary.words == ("cat", "dog", "pet")
    assert targets.words[0].tolist() == [0.5, 0.0, 0.5]


def test_mixed_targets_follow_the_pictures() -> None:
    targets = targets_of(PICTURES, vocabulary_of(PICTURES)).rows(torch.tensor([0, 1]))

    mixed = targets.mixed(Mix(partner=torch.tensor([1, 0]), kept=0.75))

    assert mixed.labels[0, LABELS.index("cat")] == pytest.approx(0.75)
    assert mixed.labels[0, LABELS.index("dog")] == pytest.approx(0.25)


def test_rows_without_a_target_do_not_weigh_on_the_loss() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    targets = torch.zeros(3, 5)
    targets[0, 2] = 1

    assert soft_cross_entropy(logits, targets) == pytest.approx(
        float(soft_cross_entropy(logits[:1], targets[:1]))
    )
    assert soft_cross_entropy(logits, torch.zeros(3, 5)) == 0


def test_the_smoothed_loss_of_even_logits_is_the_logarithm_of_the_columns() -> None:
    assert 0 < SMOOTHING < 0.2
    assert soft_cross_entropy(torch.zeros(2, 8), torch.eye(8)[:2]) == pytest.approx(math.log(8))


def test_labels_without_pictures_are_not_lifted_by_a_tiny_prior() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.0]] * 8 + [[0.0, 0.94, 0.06]] * 2)

    prior = log_prior(targets, torch.tensor([True, True, False]))

    assert prior[0] > prior[1]
    assert prior[1] <= prior[2] <= prior[0]


def test_a_picture_with_two_labels_counts_in_full_for_both() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.35, 0.65]])

    prior = log_prior(targets, torch.tensor([True, True]))

    assert (prior[0] - prior[1]).item() == pytest.approx(math.log(2))


def test_the_objective_is_least_where_every_target_is_met() -> None:
    vocabulary = vocabulary_of(PICTURES)
    targets = targets_of(PICTURES, vocabulary)
    objective = objective_of(targets)
    met = torch.cat(
        [targets.background, targets.captions, targets.words],
        dim=1,
    )

    right = objective.loss(met * 20, targets)
    wrong = objective.loss(met.roll(1, dims=0) * 20, targets)

    assert right < wrong / 2


def test_the_bank_draws_a_wording_of_each_text_in_the_order_of_the_targets() -> None:
    vocabulary = vocabulary_of(PICTURES)
    bank = TextBank(vocabulary, tokenizer())
    caption_start = len(LABELS) + 1

    drawn = [bank.draw(torch.Generator().manual_seed(seed)) for seed in range(8)]

    assert all(
        len(one) == caption_start + len(vocabulary.captions) + len(vocabulary.words)
        for one in drawn
    )
    captions = tokenizer()(list(vocabulary.captions))
    assert torch.equal(drawn[0][caption_start : caption_start + len(captions)], captions)
    assert len({tuple(one[0].tolist()) for one in drawn}) > 1
