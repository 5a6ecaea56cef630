"""Cosines to tags. Pure: numpy in, plain values out.

All arithmetic is in float64 and scores are rounded once, to integer millionths, so that an image
scored alone, in a batch, or again from its stored embedding gets the same tags.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.tags import SCORE_SCALE, TagScore

# With more multiplications OpenBLAS wakes its threads, which then spin for some 25 ms beside
# PostgreSQL and torch: for 500 images and 14 labels 188 us of CPU per image, in blocks 1.4; for
# 1,000 labels 123 and 39 (two cores).
_MULTIPLICATIONS = 2**18
_ROWS = 32

Scoring = Literal["softmax", "sigmoid", "threshold"]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TextSide:
    """A label set, as scoring needs it.

    Attributes:
        names: the labels, in their order; ties are decided by it.
        vectors: float64, (labels, dim); unit length where words alone say what it is.
        background: float64, (prompts, dim), unit length; used by `threshold`.
        thresholds: float64, (labels,): least raw cosine for `threshold`; NaN where the label has
            none and must beat the background instead.
        offsets: float64, (labels,): added to a picture's product with the vector, for labels that
            photos teach (`teaching.join`); NaN: the label is not given at all.
    """

    names: tuple[str, ...]
    vectors: Matrix
    background: Matrix
    thresholds: Matrix
    offsets: Matrix


@dataclass(frozen=True, slots=True)
class Scale:
    """The model's own factor and bias before softmax or sigmoid.

    Attributes:
        factor: of the cosines.
        bias: added to them for `sigmoid`.
        least: by label, the score from which `threshold` gives it if it has no threshold of its
            own: for labels whose scores are known to be probabilities. Any other must beat every
            background prompt, which is somewhere between one in four and one in two.
    """

    factor: float
    bias: float = 0.0
    least: Mapping[str, float] = field(default_factory=dict)


def quantise(embeddings: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return embeddings as they are stored: float16, little endian, (n, dim)."""
    return embeddings.astype("<f2")


def restore(stored: Sequence[bytes]) -> NDArray[np.float16]:
    """Return stored embeddings as a matrix: float16, (n, dim).

    Raises:
        ValueError: they are not all of one dimension.
    """
    return np.stack([np.frombuffer(one, "<f2") for one in stored])


def score(
    embeddings: NDArray[np.float16], text: TextSide, scale: Scale, scoring: Scoring
) -> Matrix:
    """Return confidences in 0..1: float64, (n, labels); NaN where a label is not given at all.

    Scored from the stored form, not from the model's float32: tags made now and tags made from
    the archive next year are then the same.

    `softmax`: as CLIP was trained; labels compete and sum to 1. `sigmoid`: each label by itself, as
    SigLIP was trained. `threshold`: each label against the background prompts; a label counts only
    where its raw cosine reaches its threshold, or else where its score reaches the least one that
    the model has for it, or else where it beats every background prompt.
    """
    images = embeddings.astype(np.float64)
    given = ~np.isnan(text.offsets)
    if given.all():
        return _confidences(images, text, scale, scoring)
    scores = np.full((len(images), len(given)), np.nan)
    if given.any():
        scores[:, given] = _confidences(images, _only(text, given), scale, scoring)
    return scores


def _only(text: TextSide, given: NDArray[np.bool_]) -> TextSide:
    return TextSide(
        names=tuple(name for name, is_given in zip(text.names, given, strict=True) if is_given),
        vectors=text.vectors[given],
        background=text.background,
        thresholds=text.thresholds[given],
        offsets=text.offsets[given],
    )


def _confidences(images: Matrix, text: TextSide, scale: Scale, scoring: Scoring) -> Matrix:
    alike = cosines(images, text.vectors) + text.offsets
    if scoring == "softmax":
        return _softmax(alike * scale.factor)
    if scoring == "sigmoid":
        return _sigmoid(alike * scale.factor + scale.bias)
    ground = cosines(images, text.background)
    return _against(alike, ground, text, scale)


def rank(scores: Matrix, names: Sequence[str], top_k: Sequence[int]) -> list[tuple[TagScore, ...]]:
    """Return each row's best tags, best first, at most `top_k` of them.

    Args:
        scores: confidences in 0..1, (n, labels); NaN: not given.
        names: the labels.
        top_k: per row.
    """
    places, found = best(scores, max(top_k, default=1))
    return [
        tuple(
            TagScore(names[at], score)
            for at, score in zip(row[:wanted].tolist(), own[:wanted].tolist(), strict=True)
            if score >= 0
        )
        for row, own, wanted in zip(places, found, top_k, strict=True)
    ]


def best(scores: Matrix, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each row's best labels, best first: places and scores in millionths, (n, most).

    At most as many as there are labels. A score of -1: the label is not given.
    """
    count = scores.shape[1]
    millionths = np.rint(np.nan_to_num(scores, nan=-1.0) * SCORE_SCALE).astype(np.int64)
    # One integer per label, all different: score first, then the label's place from the front.
    keys = millionths * count + np.arange(count - 1, -1, -1)
    places = _best(keys, min(most, count))
    return places, np.take_along_axis(millionths, places, axis=1)


def _best(keys: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Return the places of each row's greatest keys, greatest first: (n, wanted)."""
    count = keys.shape[1]
    if wanted == count:
        return np.argsort(-keys, axis=1)
    candidates = np.argpartition(keys, count - wanted, axis=1)[:, count - wanted :]
    order = np.argsort(-np.take_along_axis(keys, candidates, axis=1), axis=1)
    return np.take_along_axis(candidates, order, axis=1)


def cosines(images: Matrix, texts: Matrix) -> Matrix:
    """Return `images @ texts.T` in blocks that BLAS does in the calling thread."""
    columns = max(1, _MULTIPLICATIONS // (_ROWS * images.shape[1]))
    found = np.empty((len(images), len(texts)))
    for top in range(0, len(images), _ROWS):
        rows = images[top : top + _ROWS]
        for left in range(0, len(texts), columns):
            block = texts[left : left + columns]
            np.matmul(rows, block.T, out=found[top : top + _ROWS, left : left + columns])
    return found


def _softmax(logits: Matrix) -> Matrix:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return result


def _sigmoid(logits: Matrix) -> Matrix:
    # exp of a negative number only: no overflow at either end
    power = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + power), power / (1 + power))


def _against(alike: Matrix, ground: Matrix, text: TextSide, scale: Scale) -> Matrix:
    """Return each label's share in a softmax over itself and the background prompts."""
    best, factor = ground.max(axis=1, keepdims=True), scale.factor
    # own / (own + sum of the others) is the sigmoid of own minus the others' log-sum-exp
    others = best * factor + np.log(np.exp((ground - best) * factor).sum(axis=1, keepdims=True))
    shares = _sigmoid(alike * factor - others)
    is_given = alike >= best
    if scale.least:
        least = np.array([scale.least.get(name, np.nan) for name in text.names])
        is_given = np.where(np.isnan(least), is_given, shares >= least)
    is_given = np.where(np.isnan(text.thresholds), is_given, alike >= text.thresholds)
    return np.where(is_given, shares, np.nan)
