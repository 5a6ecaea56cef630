"""Measures of the model's quality: zero-shot accuracy, confusion and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import open_clip
import torch
from open_clip import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from training.network import normalise
from training.pictures import Pixels
from training.prompts import LABELS, PROMPTS, WITHOUT_PICTURES

BATCH = 256
PICTURED = tuple(label for label in LABELS if label not in WITHOUT_PICTURES)
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
    device = model.logit_scale.device
    parts = []
    for start in range(0, len(views), BATCH):
        pixels = torch.from_numpy(views[start : start + BATCH]).to(device).permute(0, 3, 1, 2)
        parts.append(model.encode_image(normalise(pixels), normalize=True).float())
    return torch.cat(parts)


@torch.inference_mode()
def label_features(model: open_clip.CLIP, tokenizer: SimpleTokenizer, *, ensemble: bool) -> Tensor:
    """Return label embeddings: float32, (14, dim), unit length.

    Without `ensemble` only the first prompt of each label is used.
    """
    device = model.logit_scale.device
    rows = []
    for label in LABELS:
        prompts = PROMPTS[label] if ensemble else PROMPTS[label][:1]
        features = model.encode_text(tokenizer(list(prompts)).to(device), normalize=True)
        rows.append(functional.normalize(features.float().mean(dim=0), dim=0))
    return torch.stack(rows)


def first_tags(cosines: Tensor, among: Sequence[str]) -> list[str]:
    """Return the best of some labels for each row of `cosines`, (n, 14) in the order of LABELS."""
    columns = [LABELS.index(label) for label in among]
    return [among[place] for place in cosines[:, columns].argmax(dim=1).tolist()]


def accuracy(cosines: Tensor, labels: Sequence[tuple[str, ...]], among: Sequence[str]) -> Accuracy:
    """Return the accuracy on pictures that have labels. `cosines`: (n, 14), as LABELS."""
    tags = first_tags(cosines, among)
    confusion: dict[tuple[str, str], int] = {}
    hits: dict[str, list[bool]] = {label: [] for label in PICTURED}
    for own, tag in zip(labels, tags, strict=True):
        confusion[own[0], tag] = confusion.get((own[0], tag), 0) + 1
        for label in own:
            hits[label].append(tag in own)
    per_label = {label: sum(row) / max(1, len(row)) for label, row in hits.items()}
    return Accuracy(sum(per_label.values()) / len(per_label), per_label, confusion)


def hit_rows(cosines: Tensor, labels: Sequence[tuple[str, ...]]) -> Tensor:
    """Return float32, (n,): 1 where the first of 14 tags is a label of the picture, else 0."""
    tags = first_tags(cosines, LABELS)
    return torch.tensor([float(tag in own) for own, tag in zip(labels, tags, strict=True)])


def calibration_error(cosines: Tensor, hits: Tensor, scale: float) -> float:
    """Return the expected calibration error of the first tag's score, 0..1."""
    scores = (scale * cosines).softmax(dim=1).amax(dim=1)
    bins = (scores * BINS).long().clamp(max=BINS - 1)
    error = 0.0
    for place in range(BINS):
        inside = bins == place
        if inside.any():
            error += float((scores[inside].mean() - hits[inside].mean()).abs() * inside.sum())
    return error / len(scores)


def fitted_scale(cosines: Tensor, labels: Sequence[tuple[str, ...]]) -> float:
    """Return the logit scale with the least negative log-likelihood of "one of its labels"."""
    own = torch.zeros_like(cosines)
    for row, names in enumerate(labels):
        own[row, [LABELS.index(name) for name in names]] = 1.0

    def cost(scale: float) -> float:
        shares = (scale * cosines).softmax(dim=1)
        return float(-(shares * own).sum(dim=1).clamp(min=1e-9).log().mean())

    return float(min((step / 4 for step in range(4, 400)), key=cost))
