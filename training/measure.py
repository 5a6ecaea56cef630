"""Measurements for the model card, on the held-out pictures and on whole photos."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from core.vision import scoring
from training.evaluate import (
    accuracy,
    background_features,
    calibration_error,
    first_tags,
    fitted_scale,
    hit_rows,
    image_features,
    label_features,
    least_score,
    name_features,
    scores_of,
)
from training.export import ModelQuality, load_model, weights_digest
from training.pictures import Pixels
from training.words.names import Kinds
from training.words.prompts import LABELS, PICTURED

SURE = 0.8  # a score above it is relied on
LIKELY = 0.5
# Pictures with a label that are to have a right first tag by `threshold`: 0.90 is aimed at, and the
# half that this is fitted on may be the easier one.
RIGHT_SHARE = 0.905
WORD_PICTURES = 1500  # drawn from the held-out ones, for the figures about words


@dataclass(frozen=True, slots=True)
class WholePhotos:
    """Full-size photos, none of which was trained on or tuned by.

    views: uint8, (photos, size, size, 3). labels: of each; empty: none is known or none applies.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    views: Pixels


@dataclass(frozen=True, slots=True)
class Trial:
    """Pictures that the model has not seen.

    views: uint8, (n, size, size, 3), held-out pictures with their labels (may be none) and kinds.
    photos: full-size ones with labels. demo: the twelve of the demo.
    """

    views: Pixels
    labels: tuple[tuple[str, ...], ...]
    kinds: tuple[int, ...]
    known: Kinds
    photos: WholePhotos
    demo: WholePhotos


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """The origin of a model, as the card states it beside the figures."""

    trained_on: int
    learned_scale: float
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A written model's vectors: of the held-out pictures, the labels and the background."""

    model: open_clip.CLIP
    images: Tensor
    labels: Tensor
    ground: Tensor


def see(folder: Path, trial: Trial) -> Seen:
    """Return what the written model, loaded as at run time, sees of the held-out pictures."""
    model = load_model(folder)
    images = image_features(model, trial.views)
    return Seen(model, images, label_features(model), background_features(model))


def calibrate(seen: Seen, trial: Trial) -> scoring.Scale:
    """Return the logit scale and the least score that fit the first half of the held-out pictures.

    With the least score, RIGHT_SHARE of those with a label have a right first tag.
    """
    half, labels = seen.images[::2], trial.labels[::2]
    factor = fitted_scale(half @ seen.labels.T, half @ seen.ground.T, labels)
    all_given = scoring.Scale(factor, least=dict.fromkeys(PICTURED, 0.0))
    scores = scores_of(half, seen.labels, seen.ground, all_given, "threshold")
    hits, labelled = hit_rows(scores, labels), torch.tensor([bool(own) for own in labels])
    least = least_score(scores.amax(dim=1)[labelled], hits[labelled], RIGHT_SHARE)
    return scoring.Scale(factor, least=dict.fromkeys(PICTURED, least))


def measure(
    folder: Path, seen: Seen, trial: Trial, scale: scoring.Scale, origin: ModelOrigin
) -> ModelQuality:
    """Return the measurements of a written model with this logit scale and least score."""
    model = seen.model
    places = [place for place, labels in enumerate(trial.labels) if labels]
    labelled = [trial.labels[place] for place in places]
    cosines = seen.images[places] @ seen.labels.T
    of_10, of_14 = (accuracy(cosines, labelled, among) for among in (PICTURED, LABELS))
    single = seen.images[places] @ label_features(model, ensemble=False).T
    main = accuracy(cosines, [labels[:1] for labels in labelled], PICTURED)
    return ModelQuality(
        macro_10=of_10.macro,
        macro_14=of_14.macro,
        macro_10_single=accuracy(single, labelled, PICTURED).macro,
        macro_10_main=main.macro,
        per_label=of_10.per_label,
        per_label_14=of_14.per_label,
        held_out={name: sum(name in own for own in labelled) for name in PICTURED},
        confusion=_nested(of_10.confusion),
        learned_scale=origin.learned_scale,
        fitted_scale=scale.factor,
        least_score=max(scale.least.values(), default=0.0),
        trust=_trust(seen, trial, scale),
        words=_words(seen, trial, scale.factor),
        photos=_photos(trial.photos, seen, scale),
        demo=_photos(trial.demo, seen, scale),
        trained_on=origin.trained_on,
        parameters=sum(weight.numel() for weight in model.parameters()),
        weights_sha256=weights_digest(folder),
        settings={**origin.settings, **_versions()},
    )


def _trust(seen: Seen, trial: Trial, scale: scoring.Scale) -> dict[str, dict[str, float]]:
    """Return how far scores can be relied on, for both ways to score.

    Calibration errors are those of the half that the scale was not fitted on; `other_right` is the
    share of right first tags there.
    """
    result = {}
    none = torch.tensor([not labels for labels in trial.labels])
    other_half = torch.arange(len(none)) % 2 == 1
    for how in ("softmax", "threshold"):
        scores = scores_of(seen.images, seen.labels, seen.ground, scale, how)
        hits, best = hit_rows(scores, trial.labels), scores.amax(dim=1)
        given = best > 0
        labelled, measured = ~none & other_half, given & other_half
        result[how] = {
            "ece_labelled": calibration_error(best[labelled & given], hits[labelled & given]),
            "ece_all": calibration_error(best[measured], hits[measured]),
            "none": int(none.sum()),
            "none_sure": float((best[none] > SURE).float().mean()),
            "none_likely": float((best[none] > LIKELY).float().mean()),
            "none_tagged": float(given[none].float().mean()),
            "first_right": float(hits[~none].mean()),
            "other_right": float(hits[labelled].mean()),
        }
    return result


def _words(seen: Seen, trial: Trial, scale: float) -> dict[str, float]:
    """Return how often the best of all names is true of a picture: its class or a group of it."""
    names = trial.known.texts()
    vectors = name_features(seen.model, names)
    draw = torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(trial.kinds), generator=draw)[:WORD_PICTURES].tolist()
    images = seen.images[chosen]
    cosines = images @ vectors.T
    best = cosines.topk(5, dim=1).indices.tolist()
    ground = (scale * images @ seen.ground.T).logsumexp(dim=1)
    over = (scale * cosines > ground[:, None]).sum(dim=1).float()
    counts = dict.fromkeys(("first", "exact_first", "among_5", "exact_among_5"), 0)
    for place, ranked in zip(chosen, best, strict=True):
        kind = trial.known.kinds[trial.kinds[place]]
        exact = [names[at] in kind.names for at in ranked]
        true = [names[at] in kind.names or names[at] in kind.groups for at in ranked]
        hits = true[0], exact[0], any(true), any(exact)
        counts = {key: counts[key] + hit for key, hit in zip(counts, hits, strict=True)}
    shares = {key: count / len(chosen) for key, count in counts.items()}
    return {"names": len(names), **shares, "over_background": float(over.mean())}


def _photos(photos: WholePhotos, seen: Seen, scale: scoring.Scale) -> dict[str, dict[str, Any]]:
    """Return each photo's labels and its first tag with its score, for both ways to score."""
    images = image_features(seen.model, photos.views)
    result: dict[str, dict[str, Any]] = {
        name: {"labels": list(labels)}
        for name, labels in zip(photos.names, photos.labels, strict=True)
    }
    for how in ("softmax", "threshold"):
        scores = scores_of(images, seen.labels, seen.ground, scale, how)
        tags = first_tags(scores, LABELS)
        for name, tag, row in zip(photos.names, tags, scores, strict=True):
            best = round(float(row.max()), 3)
            result[name][how] = [tag, best] if best else []
    return result


def _nested(confusion: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    for (own, tag), count in confusion.items():
        rows.setdefault(own, {})[tag] = count
    return rows


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "open_clip": str(open_clip.__version__),
    }


def misses(photos: Mapping[str, Mapping[str, Any]], how: scoring.Scoring) -> dict[str, str]:
    """Return the labelled photos whose first tag is none of their labels, and that tag, if any."""
    first = {name: (photo[how] or [""])[0] for name, photo in photos.items() if photo["labels"]}
    return {name: tag for name, tag in first.items() if tag not in photos[name]["labels"]}


def labelled_count(photos: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the number of photos that have labels."""
    return sum(bool(photo["labels"]) for photo in photos.values())
