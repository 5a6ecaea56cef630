"""Build a model from its source with open_clip, and say who it is."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.vision.checkpoints import identity
from core.vision.checkpoints.source import CONFIG, LOCAL, WeightsSource
from core.vision.importing import import_open_clip

_MAX_MESSAGE_CHARS = 600  # open_clip lists every tensor that does not fit


def load(source: WeightsSource) -> Any:
    """Return open_clip's model with its weights, in fp32 on the CPU.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    with _translated(source):
        # require_pretrained: otherwise a folder without weights would give random ones
        return import_open_clip().create_model(
            source.name,
            pretrained=None if source.file is None else str(source.file),
            precision="fp32",
            device="cpu",
            # the size of pictures is the model's own
            force_preprocess_cfg={**(source.preprocessing or {}), "size": None},
            require_pretrained=True,
        )


def tokenizer(source: WeightsSource) -> Any:
    """Return the tokenizer of a model.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    with _translated(source):
        return import_open_clip().get_tokenizer(source.tokenizer)


def identity_of(source: WeightsSource, model: Any, bundled: Path) -> str:
    """Return a model's name and the first 16 hex digits of its hash, as `name@hash`.

    Call it before anything is done to the weights.
    """
    config = _config(source)
    found = identity.digest(config, model.visual.preprocess_cfg, model.state_dict())
    if source.name == f"{LOCAL}{bundled}" or _is_bundled(config, found, bundled):
        return f"demo@{found}"
    return f"{identity.name_of(config)}@{found}"


def _config(source: WeightsSource) -> dict[str, Any]:
    config: dict[str, Any] = import_open_clip().get_model_config(source.name)
    return config


def _is_bundled(config: dict[str, Any], found: str, bundled: Path) -> bool:
    """Return whether this is a copy of the bundled model."""
    own = WeightsSource(f"{LOCAL}{bundled}", f"{LOCAL}{bundled}")
    if not (bundled / CONFIG).is_file() or identity.canonical(config) != identity.canonical(
        _config(own)
    ):
        return False
    model = load(own)
    return found == identity.digest(_config(own), model.visual.preprocess_cfg, model.state_dict())


@contextmanager
def _translated(source: WeightsSource) -> Iterator[None]:
    """Translate any error of open_clip, and its warning of wrong activations, into one message."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    except Exception as error:  # anything from OSError to Safetensors' and pickle's own
        where = f"{source.name} with {source.file}" if source.file else source.name
        told = str(error)
        if len(told) > _MAX_MESSAGE_CHARS:
            told = f"{told[:_MAX_MESSAGE_CHARS]} …"
        raise ConfigurationError(
            f"TAGGING_MODEL, TAGGING_PRETRAINED: cannot load {where}: "
            f"{type(error).__name__}: {told}{_hint(str(error))}"
        ) from error


def _hint(message: str) -> str:
    if "vision_model.encoder" in message:
        return " (these tensors have the names that `transformers` gives them, not open_clip's)"
    return ""
