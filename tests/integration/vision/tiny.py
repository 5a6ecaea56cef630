"""Tiny models with random weights, in the folder format of open_clip."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

SIZE = 32

CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": SIZE,
        "patch_size": 8,
        "width": 64,
        "layers": 2,
        "head_width": 32,
    },
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
SIGLIP: dict[str, Any] = {**CLIP, "custom_text": True, "init_logit_bias": -10.0}


def save_model(
    folder: Path, config: dict[str, Any] = CLIP, preprocess: dict[str, Any] | None = None
) -> str:
    """Write a model with fixed random weights; return its `local-dir:` name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess or {}})
    )
    with torch.random.fork_rng():
        torch.manual_seed(20261121)
        model = open_clip.create_model(f"local-dir:{folder}")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
