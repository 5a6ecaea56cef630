"""Cosines to tags."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.tags import TagScore
from core.vision.scoring import (
    Scale,
    Scoring,
    TextSide,
    quantise,
    rank,
    restore,
    score,
)
from tests.fakes.vision import unit

SCALE = Scale(100.0)


def side(vectors: list[list[float]], thresholds: list[float] | None = None) -> TextSide:
    return TextSide(
        names=tuple("abcdefgh"[: len(vectors)]),
        vectors=np.array(vectors, np.float64),
        background=np.array([[0.0, 1.0]]),
        thresholds=np.array(thresholds or [np.nan] * len(vectors)),
        offsets=np.zeros(len(vectors)),
    )


def image(*values: float) -> NDArray[np.float16]:
    return np.array([values], np.float16)


def test_softmax_is_the_textbook_one_and_sums_to_one() -> None:
    scores = score(image(1, 0), side([[1, 0], [0.99, 0], [0.98, 0]]), SCALE, "softmax")
    expected = np.exp(np.array([0.0, -1.0, -2.0]))
    assert scores[0] == pytest.approx(expected / expected.sum(), rel=1e-12)
    assert scores.sum() == pytest.approx(1.0)


def test_softmax_survives_factors_that_would_overflow() -> None:
    scores = score(image(1, 0), side([[1, 0], [-1, 0]]), Scale(10_000.0), "softmax")
    assert scores.tolist() == [[1.0, 0.0]]


def test_sigmoid_scores_each_label_for_itself() -> None:
    text = side([[1, 0], [1, 0], [-1, 0]])
    scores = score(image(1, 0), text, Scale(10.0, -10.0), "sigmoid")
    assert scores[0] == pytest.approx([0.5, 0.5, 1 / (1 + np.exp(20.0))])


def test_threshold_gives_no_label_where_the_background_is_nearer() -> None:
    scores = score(image(0.1, 1), side([[1, 0], [0, 0.5]]), SCALE, "threshold")
    assert np.isnan(scores).all()
    assert rank(scores, "ab", [4]) == [()]


def test_threshold_compares_with_the_background_by_softmax() -> None:
    scores = score(image(1, 0.99), side([[1, 0]]), SCALE, "threshold")
    own, ground = np.float64(np.float16(1)), np.float64(np.float16(0.99))
    assert scores[0, 0] == pytest.approx(1 / (1 + np.exp(100 * (ground - own))))


def test_a_label_s_own_threshold_is_a_raw_cosine() -> None:
    text = side([[0.3, 0], [0.3, 0]], [0.29, 0.31])
    scores = score(image(1, 0), text, SCALE, "threshold")
    assert not np.isnan(scores[0, 0])
    assert np.isnan(scores[0, 1])


def test_where_scores_are_probabilities_a_least_one_decides_and_not_the_background() -> None:
    near, far = image(0.99, 1), image(0.9, 1)  # the background is nearer to both

    assert np.isnan(score(near, side([[1, 0]]), SCALE, "threshold")).all()
    least = replace(SCALE, least={"a": 0.2})
    given = score(near, side([[1, 0]]), least, "threshold")[0, 0]
    assert 0.2 <= given < 0.5
    assert np.isnan(score(far, side([[1, 0]]), least, "threshold")).all()
    both = score(near, side([[1, 0], [1, 0]]), least, "threshold")[0]
    assert both[0] == given
    assert np.isnan(both[1]), "the model has no least score for this label"


def test_a_label_s_own_threshold_comes_before_the_model_s_least_score() -> None:
    text = side([[1, 0], [1, 0]], [0.5, 1.5])
    scores = score(image(1, 1.5), text, replace(SCALE, least={"a": 0.9, "b": 0.9}), "threshold")
    assert scores[0, 0] < 0.9  # given by its own cosine, however low its score is
    assert np.isnan(scores[0, 1])


def test_tags_come_best_first_and_at_most_top_k() -> None:
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    assert rank(scores, ("a", "b", "c"), [2, 3]) == [
        (TagScore("b", 600_000), TagScore("c", 300_000)),
        (TagScore("a", 500_000), TagScore("c", 300_000), TagScore("b", 200_000)),
    ]


def test_more_tags_than_labels_give_all_labels() -> None:
    assert len(rank(np.array([[0.1, 0.2]]), ("a", "b"), [30_000])[0]) == 2


def test_equal_scores_after_rounding_keep_the_order_of_the_labels() -> None:
    scores = np.array([[0.2500001, 0.25, 0.2500002, 0.25]])
    assert [tag.tag for tag in rank(scores, "abcd", [3])[0]] == ["a", "b", "c"]


def test_scores_are_rounded_half_to_even_like_the_shared_noun() -> None:
    from core.tags import score_to_int

    values = [0.0000005, 0.0000015, 0.1234565, 0.9999995, 1.0, 0.0]
    ranked = rank(np.array([values]), "abcdef", [6])[0]
    assert {tag.tag: tag.score for tag in ranked} == {
        name: score_to_int(value) for name, value in zip("abcdef", values, strict=True)
    }


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.integers(1, 70),
)
def test_top_k_equals_a_plain_stable_sort(values: list[int], top_k: int) -> None:
    names = [f"label {at}" for at in range(len(values))]
    expected = sorted(range(len(values)), key=lambda at: (-values[at], at))[:top_k]
    ranked = rank(np.array([values]) / 100, names, [top_k])[0]
    assert [tag.tag for tag in ranked] == [names[at] for at in expected]


@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.sampled_from(["softmax", "sigmoid", "threshold"]),
)
def test_an_image_gets_the_same_tags_alone_in_a_batch_and_from_its_stored_embedding(
    images: int, labels: int, scoring: Scoring
) -> None:
    names = tuple(f"label {at}" for at in range(labels))
    text = TextSide(
        names=names,
        vectors=np.stack([unit(name.encode(), 64) for name in names]).astype(np.float64),
        background=unit(b"a photo", 64)[None].astype(np.float64),
        thresholds=np.full(labels, np.nan),
        offsets=np.zeros(labels),
    )
    rows = quantise(np.stack([unit(bytes([at]), 64) for at in range(images)]))
    scale = Scale(100.0, -10.0)
    together = rank(score(rows, text, scale, scoring), names, [5] * images)
    stored = restore([row.tobytes() for row in rows])
    alone = [
        rank(score(stored[at : at + 1], text, scale, scoring), names, [5])[0]
        for at in range(images)
    ]
    assert together == alone


def test_many_images_and_labels_are_multiplied_in_blocks_that_leave_none_out() -> None:
    rows = quantise(np.stack([unit(bytes([at]), 512) for at in range(70)]))
    vectors = np.stack([unit(b"label %d" % at, 512) for at in range(45)]).astype(np.float64)

    scores = score(rows, side(vectors.tolist()), Scale(1.0), "sigmoid")

    expected = 1 / (1 + np.exp(-rows.astype(np.float64) @ vectors.T))
    assert np.allclose(scores, expected, rtol=0, atol=1e-12)


def test_embeddings_are_stored_as_little_endian_half_floats() -> None:
    assert quantise(np.array([[1.0, -2.0]], np.float32)).tobytes() == b"\x00\x3c\x00\xc0"
    assert restore([b"\x00\x3c\x00\xc0"]).tolist() == [[1.0, -2.0]]


def test_embeddings_of_unlike_models_are_not_mixed() -> None:
    with pytest.raises(ValueError):
        restore([b"\0" * 4, b"\0" * 8])


@pytest.mark.parametrize("scoring", ["softmax", "sigmoid", "threshold"])
def test_a_label_that_waits_is_given_to_no_image_and_takes_nothing_from_the_others(
    scoring: Scoring,
) -> None:
    two = side([[1, 0], [0.6, 0.8]], [-1.0, -1.0])
    three = replace(
        side([[1, 0], [0.8, 0.6], [0.6, 0.8]], [-1.0] * 3), offsets=np.array([0, np.nan, 0])
    )

    waiting = score(image(0.8, 0.6), three, SCALE, scoring)

    assert np.isnan(waiting[0, 1])
    assert waiting[:, [0, 2]] == pytest.approx(score(image(0.8, 0.6), two, SCALE, scoring))
    assert {tag.tag for tag in rank(waiting, three.names, [3])[0]} == {"a", "c"}


@pytest.mark.parametrize("scoring", ["softmax", "sigmoid", "threshold"])
def test_where_all_labels_wait_there_are_no_tags(scoring: Scoring) -> None:
    all_wait = replace(side([[1, 0], [0, 1]]), offsets=np.full(2, np.nan))

    scores = score(image(0.8, 0.6), all_wait, SCALE, scoring)

    assert rank(scores, all_wait.names, [2]) == [()]
