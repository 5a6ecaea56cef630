"""Measurements for the model card, on the held-out pictures and the demo photos."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from training.evaluate import (
    PICTURED,
    accuracy,
    calibration_error,
    first_tags,
    fitted_scale,
    hit_rows,
    image_features,
    label_features,
)
from training.export import ModelQuality, load_model, weights_digest
from training.network import tokenizer
from training.pictures import DemoPhoto, Pixels
from training.prompts import LABELS


@dataclass(frozen=True, slots=True)
class Trial:
    """Pictures that the model has not seen, with their labels.

    views: uint8, (n, size, size, 3), held-out pictures that have labels.
    demo_views: uint8, (photos, size, size, 3), full-size photos; may be none.
    """

    views: Pixels
    labels: tuple[tuple[str, ...], ...]
    photos: tuple[DemoPhoto, ...]
    demo_views: Pixels


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """The origin of a model, as the card states it beside the figures."""

    trained_on: int
    learned_scale: float
    settings: Mapping[str, str]


def cosines_of(model: open_clip.CLIP, views: Pixels, *, ensemble: bool = True) -> Tensor:
    """Return cosines of each picture and each label's prompts: float32, (n, 14), on the CPU."""
    texts = label_features(model, tokenizer(), ensemble=ensemble)
    return (image_features(model, views) @ texts.T).cpu()


def best_scale(model: open_clip.CLIP, trial: Trial) -> float:
    """Return the logit scale that fits the first half of the held-out pictures."""
    cosines = cosines_of(model, trial.views)
    return fitted_scale(cosines[::2], trial.labels[::2])


def epoch_report(model: open_clip.CLIP, trial: Trial) -> str:
    """Return the line after an epoch: macro accuracies and hits among the demo photos."""
    cosines = cosines_of(model, trial.views)
    among_10 = accuracy(cosines, trial.labels, PICTURED).macro
    among_14 = accuracy(cosines, trial.labels, LABELS).macro
    hits, photos, _ = demo_result(model, trial)
    return f"macro of 10 {among_10:.4f}, of 14 {among_14:.4f}, demo photos {hits}/{photos}"


def demo_result(model: open_clip.CLIP, trial: Trial) -> tuple[int, int, dict[str, str]]:
    """Return how many labelled photos have a right first tag (of 14), their number, the misses."""
    places = [place for place, photo in enumerate(trial.photos) if photo.labels]
    if not places:
        return 0, 0, {}
    tags = first_tags(cosines_of(model, trial.demo_views[places]), LABELS)
    misses = {
        trial.photos[place].path.name: tag
        for place, tag in zip(places, tags, strict=True)
        if tag not in trial.photos[place].labels
    }
    return len(places) - len(misses), len(places), misses


def measure(folder: Path, trial: Trial, origin: ModelOrigin) -> ModelQuality:
    """Load the exported folder as the run time does; return its measurements."""
    model = load_model(folder)
    cosines = cosines_of(model, trial.views)
    of_10 = accuracy(cosines, trial.labels, PICTURED)
    of_14 = accuracy(cosines, trial.labels, LABELS)
    single = accuracy(cosines_of(model, trial.views, ensemble=False), trial.labels, PICTURED)
    main = accuracy(cosines, [labels[:1] for labels in trial.labels], PICTURED)
    scale = float(model.logit_scale.detach().exp())
    unseen, hits = cosines[1::2], hit_rows(cosines, trial.labels)[1::2]
    demo_hits, demo_photos, demo_misses = demo_result(model, trial)
    return ModelQuality(
        macro_10=of_10.macro,
        macro_14=of_14.macro,
        macro_10_single=single.macro,
        macro_10_main=main.macro,
        per_label=of_10.per_label,
        per_label_14=of_14.per_label,
        held_out={name: _count(trial.labels, name) for name in PICTURED},
        confusion=_nested(of_10.confusion),
        learned_scale=origin.learned_scale,
        fitted_scale=scale,
        ece_before=calibration_error(unseen, hits, origin.learned_scale),
        ece_after=calibration_error(unseen, hits, scale),
        demo_hits=demo_hits,
        demo_photos=demo_photos,
        demo_misses=demo_misses,
        trained_on=origin.trained_on,
        parameters=sum(weight.numel() for weight in model.parameters()),
        weights_sha256=weights_digest(folder),
        settings={**origin.settings, **_versions()},
    )


def _count(labels: Sequence[tuple[str, ...]], name: str) -> int:
    return sum(name in own for own in labels)


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
