"""Measures of the model's quality: zero-shot accuracy, confusion and calibration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn import functional

from core.vision import scoring
from core.vision.clip import DEFAULT_TEMPLATES
from training.network import normalise, tokenizer
from training.pictures import Pixels
from training.words.prompts import BACKGROUND, LABELS, PICTURED, PROMPTS
from training.words.texts import encode

BATCH = 64
BINS = 15  # bins of the calibration error, as in Guo et al. 2017


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 accuracy over some labels.

    per_label: share of a label's pictures whose first tag is one of their labels.
    macro: their mean. confusion: (main label, first tag) -> pictures.
    """

    macro: float
    per_label: dict[str, float]
    confusion: dict[tuple[str, str], int]


@torch.inference_mode()
def image_features(model: open_clip.CLIP, views: Pixels) -> Tensor:
    """Return image embeddings: float32, (n, dim), unit length."""
    parts = [torch.zeros(0, model.text_projection.shape[1])]
    for start in range(0, len(views), BATCH):
        pixels = torch.from_numpy(views[start : start + BATCH]).permute(0, 3, 1, 2)
        parts.append(model.encode_image(normalise(pixels), normalize=True).float())
    return torch.cat(parts)


@torch.inference_mode()
def text_features(model: open_clip.CLIP, ensembles: Sequence[Sequence[str]]) -> Tensor:
    """Return a unit vector per group of prompts, as the run time makes them: float32, (n, dim)."""
    words = tokenizer()
    vectors = encode(model, words([prompt for prompts in ensembles for prompt in prompts]))
    means = [part.mean(dim=0) for part in vectors.split([len(prompts) for prompts in ensembles])]
    return functional.normalize(torch.stack(means), dim=1)


def label_features(model: open_clip.CLIP, *, ensemble: bool = True) -> Tensor:
    """Return label embeddings, (14, dim); without `ensemble` of each label's first prompt alone."""
    return text_features(model, [PROMPTS[label][: None if ensemble else 1] for label in LABELS])


def background_features(model: open_clip.CLIP) -> Tensor:
    """Return the embeddings of the background prompts, (prompts, dim)."""
    return text_features(model, [(prompt,) for prompt in BACKGROUND])


def name_features(model: open_clip.CLIP, names: Sequence[str]) -> Tensor:
    """Return the embeddings of names as labels of one's own, (names, dim)."""
    return text_features(
        model, [[t.replace("{}", name) for t in DEFAULT_TEMPLATES] for name in names]
    )


def scores_of(
    images: Tensor, labels: Tensor, ground: Tensor, scale: scoring.Scale, how: scoring.Scoring
) -> Tensor:
    """Return the run time's scores of all labels: float32, (n, labels); 0 where none is given."""
    text = scoring.TextSide(
        LABELS,
        labels.double().numpy(),
        ground.double().numpy(),
        np.full(len(LABELS), np.nan),
        np.zeros(len(LABELS)),
    )
    stored = scoring.quantise(images.numpy())
    given = scoring.score(stored, text, scale, how)
    return torch.from_numpy(np.nan_to_num(given)).float()


def first_tags(scores: Tensor, among: Sequence[str]) -> list[str]:
    """Return the best of some labels for each row of `scores`, (n, 14) in the order of LABELS."""
    columns = [LABELS.index(label) for label in among]
    return [among[place] for place in scores[:, columns].argmax(dim=1).tolist()]


def accuracy(scores: Tensor, labels: Sequence[tuple[str, ...]], among: Sequence[str]) -> Accuracy:
    """Return the accuracy on pictures that have labels. `scores`: (n, 14), as LABELS."""
    tags = first_tags(scores, among)
    confusion: dict[tuple[str, str], int] = {}
    hits: dict[str, list[bool]] = {label: [] for label in PICTURED}
    for own, tag in zip(labels, tags, strict=True):
        confusion[own[0], tag] = confusion.get((own[0], tag), 0) + 1
        for label in own:
            hits[label].append(tag in own)
    per_label = {label: sum(row) / max(1, len(row)) for label, row in hits.items()}
    return Accuracy(sum(per_label.values()) / len(per_label), per_label, confusion)


def hit_rows(scores: Tensor, labels: Sequence[tuple[str, ...]]) -> Tensor:
    """Return float32, (n,): 1 where the first of 14 tags is given and a label of the picture."""
    tags = first_tags(scores, LABELS)
    best = scores.amax(dim=1)
    hits = [float(tag in own) for own, tag in zip(labels, tags, strict=True)]
    return torch.tensor(hits) * (best != 0)


def calibration_error(scores: Tensor, hits: Tensor) -> float:
    """Return the expected calibration error of scores 0..1: (n,), with 1 for each hit: (n,)."""
    bins = (scores * BINS).long().clamp(max=BINS - 1)
    error = 0.0
    for place in range(BINS):
        inside = bins == place
        if inside.any():
            error += float((scores[inside].mean() - hits[inside].mean()).abs() * inside.sum())
    return error / max(1, len(scores))


def fitted_scale(cosines: Tensor, ground: Tensor, labels: Sequence[tuple[str, ...]]) -> float:
    """Return the logit scale with which the first tag by `threshold` is as often right as it says.

    It has the least negative log-likelihood of "right" over the pictures that get a tag, those
    without a label among them. Softmax cannot be right about both: its scores sum to one.

    Args:
        cosines: (n, 14). ground: (n, backgrounds).
        labels: of each picture; may be empty.
    """
    best = cosines.amax(dim=1)
    given = best >= ground.amax(dim=1)
    tags = first_tags(cosines, LABELS)
    hits = torch.tensor([float(tag in own) for tag, own in zip(tags, labels, strict=True)])

    def cost(scale: float) -> float:
        margins = scale * best - (scale * ground).logsumexp(dim=1)
        return float(functional.binary_cross_entropy_with_logits(margins[given], hits[given]))

    return float(min((step / 4 for step in range(4, 400)), key=cost))


def least_score(best: Tensor, hits: Tensor, share: float) -> float:
    """Return the greatest least score with which so many pictures keep a right first tag.

    Args:
        best: score of each picture's first tag, of pictures that have a label, (n,).
        hits: (n,), 1 where it is right.
        share: of all these pictures; 0 is returned where fewer have a right first tag at all.
    """
    kept = (best * hits).sort(descending=True).values
    return math.floor(1000 * float(kept[math.ceil(share * len(kept)) - 1])) / 1000
