"""The shipped folder: open_clip's configuration, half-precision weights, measurements, card."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from safetensors.torch import save_file

from core.vision.engines.norm_folding import fold_norms
from training.network import IMAGE_SIZE, MODEL_CFG, PREPROCESS_CFG

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
METRICS_NAME = "metrics.json"
CARD_NAME = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class ModelQuality:
    """Measurements of the exported model. Accuracies and errors are 0..1.

    macro_10: zero-shot top-1 accuracy among the ten labels that have pictures, mean over labels.
    macro_14: among all fourteen. macro_10_single: one prompt per label instead of its ensemble.
    macro_10_main: only the first label of a picture with two counts as right.
    least_score: from which a label is given by `threshold`.
    trust: for `softmax` and `threshold`: calibration error of the first tag, on labelled pictures
        and on all, and what is said of pictures without a label; see `measure`.
    words: how often the best of all names is true of a held-out picture.
    photos, demo: of each whole photo its labels, and its first tag and score by both ways to score.
    """

    macro_10: float
    macro_14: float
    macro_10_single: float
    macro_10_main: float
    per_label: dict[str, float]
    per_label_14: dict[str, float]
    held_out: dict[str, int]
    confusion: dict[str, dict[str, int]]
    learned_scale: float
    fitted_scale: float
    least_score: float
    trust: dict[str, dict[str, float]]
    words: dict[str, float]
    photos: dict[str, dict[str, Any]]
    demo: dict[str, dict[str, Any]]
    trained_on: int
    parameters: int
    weights_sha256: str
    settings: dict[str, str]


def half_precision(model: open_clip.CLIP, scale: float) -> dict[str, torch.Tensor]:
    """Return the model's tensors, floats as float16, with another logit scale.

    Raises:
        OverflowError: a value does not fit float16.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.half()
            if not torch.isfinite(tensor).all():
                message = f"{name}: beyond float16"
                raise OverflowError(message)
        tensors[name] = tensor
    tensors["logit_scale"] = torch.tensor(math.log(scale), dtype=torch.float16)
    return tensors


def write_model(folder: Path, model: open_clip.CLIP, scale: float) -> None:
    """Write configuration and weights; the folder then loads as `local-dir:FOLDER`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = folder / WEIGHTS_NAME
    save_file(half_precision(model, scale), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors 0.8 makes the file readable for its owner alone


def load_model(folder: Path) -> open_clip.CLIP:
    """Return the exported model as the run time loads it: float32, norms folded."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    fold_norms(model.eval().visual, torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    return cast("open_clip.CLIP", model.to(memory_format=torch.channels_last))


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights file, hexadecimal."""
    return hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()


def write_metrics(folder: Path, metrics: ModelQuality) -> None:
    """Write the measurements beside the weights."""
    text = json.dumps(asdict(metrics), indent=2, sort_keys=True)
    (folder / METRICS_NAME).write_text(text + "\n", encoding="utf-8")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the measurements of a finished model."""
    return cast("dict[str, Any]", json.loads((folder / METRICS_NAME).read_text(encoding="utf-8")))
