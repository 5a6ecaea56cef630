"""The shipped folder: open_clip's configuration, half-precision weights, measurements, card."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.errors import ConfigurationError
from training.network import MODEL_CFG, PREPROCESS_CFG, build

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
    ece_before, ece_after: calibration error of the first of fourteen scores with the learned and
        with the fitted logit scale, on pictures that the fit did not see.
    demo_hits of demo_photos: full-size photos whose first tag is one of their labels.
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
    ece_before: float
    ece_after: float
    demo_hits: int
    demo_photos: int
    demo_misses: dict[str, str]
    trained_on: int
    parameters: int
    weights_sha256: str
    settings: dict[str, str]


def read_model(folder: Path) -> open_clip.CLIP:
    """Return the model of a written folder, float32.

    Raises:
        ConfigurationError: the folder holds no weights, or those of another network.
    """
    model = build()
    try:
        tensors = load_file(folder / WEIGHTS_NAME)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigurationError(f"--begin {folder}: {error}") from error
    return model


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
    """Return the exported model as the run time loads it: float32, evaluation mode."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return cast("open_clip.CLIP", model.eval())


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
