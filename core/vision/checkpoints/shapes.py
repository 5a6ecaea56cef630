"""The configuration of a CLIP model, from the shapes of its weights."""

import math
import re
from collections.abc import Mapping
from typing import Any

from core.errors import ConfigurationError

Shapes = Mapping[str, tuple[int, ...]]
_HEAD_WIDTH = 64  # in all of openai's models


def configuration(shapes: Shapes) -> dict[str, Any]:
    """Return open_clip's configuration, but for the activation.

    Raises:
        ConfigurationError: these are not the weights of openai's CLIP.
    """
    try:
        picture = _transformer(shapes) if "visual.proj" in shapes else _resnet(shapes)
        text = {
            "context_length": shapes["positional_embedding"][0],
            "vocab_size": shapes["token_embedding.weight"][0],
            "width": shapes["ln_final.weight"][0],
            "heads": shapes["ln_final.weight"][0] // _HEAD_WIDTH,
            "layers": _count(shapes, r"transformer\.resblocks\.(\d+)\."),
        }
        return {
            "embed_dim": shapes["text_projection"][1],
            "vision_cfg": picture,
            "text_cfg": text,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigurationError(
            f"these are not the weights of a CLIP model: {type(error).__name__}: {error}"
        ) from error


def _transformer(shapes: Shapes) -> dict[str, Any]:
    width, _, _, patch = shapes["visual.conv1.weight"]
    places = shapes["visual.positional_embedding"][0] - 1
    return {
        "image_size": math.isqrt(places) * patch,
        "layers": _count(shapes, r"visual\.transformer\.resblocks\.(\d+)\."),
        "width": width,
        "patch_size": patch,
    }


def _resnet(shapes: Shapes) -> dict[str, Any]:
    places = shapes["visual.attnpool.positional_embedding"][0] - 1
    return {
        "image_size": math.isqrt(places) * 32,  # five halvings before the pooling
        "layers": [_count(shapes, rf"visual\.layer{each}\.(\d+)\.") for each in (1, 2, 3, 4)],
        "width": shapes["visual.layer1.0.conv1.weight"][0],
        "patch_size": None,
    }


def _count(shapes: Shapes, pattern: str) -> int:
    found = {match[1] for name in shapes if (match := re.match(pattern, name))}
    return len(found)
