"""One CLIP model with random weights, in the formats in which people have real ones."""

import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

#: A small relative of openai's models: heads are 64 wide, as theirs.
VISION: dict[str, Any] = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2}
TEXT: dict[str, Any] = {
    "context_length": 16,
    "vocab_size": 49408,
    "width": 64,
    "heads": 1,
    "layers": 2,
}
CONFIG: dict[str, Any] = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
PLAIN = "tiny-clip"
QUICK = f"{PLAIN}-quickgelu"


def register(folder: Path) -> None:
    """Make open_clip know the architecture in both activations, as it knows ViT-B-32."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, quick_gelu in ((PLAIN, False), (QUICK, True)):
        config = {**CONFIG, "quick_gelu": True} if quick_gelu else CONFIG
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def model(*, quick_gelu: bool = True, seed: int = 20261130, **parts: Any) -> CLIP:
    """Return the model; its weights are those of half precision, as openai's are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = CLIP(**{**CONFIG, **parts}, quick_gelu=quick_gelu).eval()
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    return made


def state(made: CLIP) -> dict[str, torch.Tensor]:
    """Return the weights by name, each with numbers of its own."""
    return {name: tensor.clone().contiguous() for name, tensor in made.state_dict().items()}


def safetensors(made: CLIP, path: Path, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state(made), path, metadata)
    return path


def half(made: CLIP, path: Path) -> Path:
    save_file({name: each.half() for name, each in state(made).items()}, path)
    return path


def pickled(made: CLIP, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state(made), path)
    return path


def training_checkpoint(made: CLIP, path: Path) -> Path:
    """Write what a training process of several devices writes."""
    weights = {f"module.{name}": tensor for name, tensor in state(made).items()}
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save(
        {"epoch": 3, "name": "run", "state_dict": weights, "optimizer": optimizer, "scaler": {}},
        path,
    )
    return path


def folder(made: CLIP, path: Path, *, quick_gelu: bool | None = True) -> Path:
    """Write a folder for `local-dir:`; without activation where `quick_gelu` is None."""
    path.mkdir(parents=True, exist_ok=True)
    config = CONFIG if quick_gelu is None else {**CONFIG, "quick_gelu": quick_gelu}
    (path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    )
    safetensors(made, path / "open_clip_model.safetensors")
    return path


def archive(made: CLIP, path: Path) -> Path:
    """Write a TorchScript archive as openai's are.

    Traced, in half precision but for some parts, and with the sizes beside the weights.
    """
    text, side = made.context_length, VISION["image_size"]
    for name, value in (("context_length", text), ("vocab_size", made.vocab_size)):
        delattr(made, name)
        made.register_buffer(name, torch.tensor(value))
    made.register_buffer("input_resolution", torch.tensor(side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch gives TorchScript up; openai's files stay
        traced = torch.jit.trace_module(
            made,
            {
                "encode_image": torch.zeros(1, 3, side, side),
                "encode_text": torch.zeros(1, text, dtype=torch.long),
            },
            check_trace=False,
        )
    for parameter in traced.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.half()
    return saved(traced, path)


def scripted(module: torch.nn.Module, path: Path) -> Path:
    """Write a TorchScript archive of any module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(torch.jit.script(module), path)


def saved(module: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.save(str(path))
    return path
