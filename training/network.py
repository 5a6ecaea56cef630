"""The architecture of the bundled model."""

import warnings
from typing import Any, cast

import open_clip
import torch

from training.tower import TRUNK, Pretrained

IMAGE_SIZE = 160
CONTEXT_LENGTH = 16
MODEL_CFG: dict[str, Any] = {  # JSON, as open_clip reads it
    "embed_dim": 192,
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "timm_model_name": TRUNK,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "mlp",
        "timm_proj_bias": True,
    },
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": 49408,  # open_clip's built-in BPE; the rows cost 64 numbers each
        "width": 64,
        "heads": 2,
        "layers": 2,
    },
}
PREPROCESS_CFG: dict[str, Any] = {
    "size": IMAGE_SIZE,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],  # the tower's own, not OpenAI's
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def build(tower: Pretrained | None = None) -> open_clip.CLIP:
    """Return the model, float32 on the CPU: untrained but for the picture tower, where given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = open_clip.CLIP(
            embed_dim=MODEL_CFG["embed_dim"],
            vision_cfg=MODEL_CFG["vision_cfg"],
            text_cfg=MODEL_CFG["text_cfg"],
        )
    if tower is not None:
        cast("Any", model.visual).trunk.load_state_dict(tower.trunk.state_dict())
    return model


def tokenizer() -> open_clip.SimpleTokenizer:
    """Return the built-in BPE tokenizer, cut to the model's context."""
    return open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels 0..255, (n, 3, h, w), as float32 in the model's units, channels last."""
    mean = torch.tensor(PREPROCESS_CFG["mean"], device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(PREPROCESS_CFG["std"], device=pixels.device).view(1, 3, 1, 1)
    scaled = (pixels.float() / 255 - mean) / std
    return cast("torch.Tensor", scaled.contiguous(memory_format=torch.channels_last))
