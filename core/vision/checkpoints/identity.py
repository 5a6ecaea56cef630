"""The identity of a model: the same for the same weights, whichever way they came.

Embeddings and tags are kept under it, so it must change with whatever changes an embedding, and
with nothing else: not with a folder's name, a file's format or the precision it is stored in.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core.vision.importing import import_open_clip

_HASH_HEX = 16
#: Of no influence on a model that is loaded: what would be downloaded or dropped in training.
_ONLY_IN_TRAINING = (
    "timm_model_pretrained",
    "hf_model_pretrained",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
)
_PREPROCESSING = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what open_clip's configuration says, without what it need not say.

    Defaults are left out, not filled in: a later version of open_clip that knows more of them
    changes no identity.
    """
    import_open_clip()
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    rest = {
        name: value
        for name, value in config.items()
        if name not in {"vision_cfg", "text_cfg"} and value is not None and value is not False
    }
    return {
        **rest,
        "vision_cfg": _stated(config["vision_cfg"], asdict(CLIPVisionCfg())),
        "text_cfg": _stated(config["text_cfg"], asdict(CLIPTextCfg())),
    }


def _stated(part: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in part.items()
        if name not in _ONLY_IN_TRAINING and (name not in defaults or value != defaults[name])
    }


def name_of(config: Mapping[str, Any]) -> str:
    """Return the name of an architecture: open_clip's, else that of its picture tower."""
    open_clip = import_open_clip()
    wanted = canonical(config)
    for name in open_clip.list_models():
        if canonical(open_clip.get_model_config(name)) == wanted:
            return str(name)
    return str(wanted["vision_cfg"].get("timm_model_name", "clip"))


def digest(
    config: Mapping[str, Any], preprocessing: Mapping[str, Any], tensors: Mapping[str, Any]
) -> str:
    """Return a hash over architecture, activation, preprocessing and weights.

    Weights are taken in half precision: the same ones are published in both, and half of the bytes
    are hashed in half of the time.
    """
    told = {name: _plain(preprocessing.get(name)) for name in _PREPROCESSING}
    found = hashlib.sha256(json.dumps([canonical(config), told], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        array = tensor.detach().cpu()
        array = (array.half() if array.is_floating_point() else array).contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.data)
    return found.hexdigest()[:_HASH_HEX]


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value
