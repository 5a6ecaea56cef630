"""Label targets and prompts."""

import pytest
from open_clip import SimpleTokenizer

from training.network import CONTEXT_LENGTH
from training.prompts import (
    BACKGROUND,
    KIN,
    LABELS,
    PROMPTS,
    WITHOUT_PICTURES,
    label_targets,
)


@pytest.mark.parametrize("labels", [("cat",), ("beach", "landscape"), ("celebration",)])
def test_shares_of_a_labelled_picture_sum_to_one(labels: tuple[str, ...]) -> None:
    assert sum(target.share for target in label_targets(labels)) == pytest.approx(1)


def test_a_picture_without_labels_has_no_shares() -> None:
    assert label_targets(()) == ()


def test_the_first_of_two_labels_gets_the_larger_share() -> None:
    shares = {target.label: target.share for target in label_targets(("landscape", "beach"))}

    assert shares["landscape"] > shares["beach"] > 0


def test_kin_without_pictures_stay_far_behind_the_label_they_follow() -> None:
    for label, kin in KIN.items():
        shares = {target.label: target.share for target in label_targets((label,))}

        assert set(kin) <= set(WITHOUT_PICTURES)
        assert all(shares[other] < shares[label] / 10 for other in kin)


def test_the_label_is_not_among_the_words_that_the_context_cuts_off() -> None:
    words = SimpleTokenizer(context_length=CONTEXT_LENGTH)
    for label, prompts in PROMPTS.items():
        own = [token for token in words([label])[0].tolist() if token][1:-1]
        for prompt in prompts:
            tokens = words([prompt])[0].tolist()

            assert all(token in tokens for token in own), prompt


def test_the_labels_are_the_projects_own() -> None:
    assert len(LABELS) == 14
    assert set(WITHOUT_PICTURES) < set(LABELS)
    assert all(PROMPTS[label] for label in LABELS)
    assert BACKGROUND
