"""From settings to one source of weights: what open_clip shall build, and from which file."""

import difflib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import weights
from core.errors import ConfigurationError
from core.vision.checkpoints import torchscript
from core.vision.checkpoints.activation import (
    Architecture,
    architecture,
    known,
    noted,
    settled,
)
from core.vision.checkpoints.identity import canonical
from core.vision.importing import import_open_clip

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
#: What a configuration that is none raises when it is read.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where a model comes from.

    Attributes:
        name: what open_clip builds: one of its architectures, or `local-dir:FOLDER`.
        tokenizer: the name that leads open_clip to its tokenizer.
        file: the weights; None: those in the folder.
        preprocessing: what the weights want of pictures; None: as the folder says, or open_clip.
    """

    name: str
    tokenizer: str
    file: Path | None = None
    preprocessing: Mapping[str, Any] | None = None


def find_source(model: str, pretrained: str, bundled: Path) -> WeightsSource:
    """Return the source that `TAGGING_MODEL` and `TAGGING_PRETRAINED` name.

    Args:
        model: `demo`, `local-dir:FOLDER`, `hf-hub:OWNER/NAME`, or an architecture of open_clip.
        pretrained: a tag or a file, for an architecture.
        bundled: the folder of the bundled model.

    Raises:
        ConfigurationError: there are no such weights, or nothing says what activation they want.
    """
    if model == "demo":
        return WeightsSource(f"{LOCAL}{bundled}", f"{LOCAL}{bundled}")
    try:
        return _found(model, pretrained)
    except OSError as error:
        raise ConfigurationError(f"TAGGING_MODEL, TAGGING_PRETRAINED: {error}") from error


def _found(model: str, pretrained: str) -> WeightsSource:
    if model.startswith(LOCAL):
        return _in_folder(weights.expanded(model.removeprefix(LOCAL)))
    if model.startswith(HUB):
        return _in_repository(model.removeprefix(HUB))
    if not pretrained:
        raise ConfigurationError(f"TAGGING_PRETRAINED: empty; {model} would have random weights")
    asked = architecture(model)
    if asked is None:
        raise ConfigurationError(
            f"TAGGING_MODEL={model}: open_clip has no such model{_near(model)}"
        )
    config = _tags(asked).get(_clean(pretrained))
    if config is not None:
        return _tagged(asked, pretrained, config)
    file = weights.named_file(pretrained)
    if file is None and not os.path.lexists(pretrained):
        raise ConfigurationError(
            f"TAGGING_PRETRAINED={pretrained}: no file, and no weights of {asked.plain} are known"
            f" by that name. Known are: {', '.join(sorted(_tags(asked))) or 'none'}"
        )
    return _in_file(asked, file or weights.existing_file(pretrained))


def _near(model: str) -> str:
    near = difflib.get_close_matches(model, import_open_clip().list_models(), n=3)
    return f": is {' or '.join(near)} meant?" if near else ""


def _clean(tag: str) -> str:
    return tag.lower().replace("-", "_")  # as open_clip does


def _tags(asked: Architecture) -> dict[str, dict[str, Any]]:
    """Return open_clip's configurations of the published weights of an architecture, by tag."""
    open_clip = import_open_clip()
    return {
        tag: open_clip.get_pretrained_cfg(name, tag)
        for name, tag in open_clip.list_pretrained()
        if name == asked.plain
    }


def _tagged(asked: Architecture, tag: str, config: Mapping[str, Any]) -> WeightsSource:
    quick_gelu = bool(config.get("quick_gelu", False))
    name = settled(asked, f"{asked.plain}/{tag}", wanted=quick_gelu)
    repository, _, file = str(config["hf_hub"]).rpartition("/")
    names = weights.WEIGHTS if not file else (f"{Path(file).stem}.safetensors", file)
    return WeightsSource(name, name, weights.at_hand(repository, names), config)


def _in_file(asked: Architecture, file: Path) -> WeightsSource:
    _refuse_archive(file)
    recognised = known(file) if asked.has_twin else None
    if recognised is not None and recognised.architecture != asked.plain:
        raise ConfigurationError(
            f"TAGGING_PRETRAINED={file}: these are the weights of {recognised.architecture}:"
            f" set TAGGING_MODEL={recognised.architecture}"
        )
    beside = _config_beside(asked, file)
    wanted = noted(file)
    if recognised is not None:
        wanted = recognised.quick_gelu
    elif wanted is None and beside is not None:
        wanted = bool(beside["model_cfg"].get("quick_gelu", False))
    name = settled(asked, str(file), wanted=wanted)
    if recognised is not None:
        return WeightsSource(name, name, file, _tags(asked)[recognised.tag])
    if beside is not None:
        return WeightsSource(name, name, file, beside.get("preprocess_cfg"))
    return WeightsSource(name, name, file, _usual(asked, name, file))


def _refuse_archive(file: Path) -> None:
    if torchscript.is_archive(file):
        command = f"photo-archive weights convert {shlex.quote(str(file))}"
        raise ConfigurationError(
            f"{file} is a TorchScript archive, as openai publishes its weights: a program, which is"
            f" not run here. Convert it once: {command}"
        )


def _config_beside(asked: Architecture, file: Path) -> dict[str, Any] | None:
    """Return the configuration in the file's folder, if it is one of this architecture."""
    try:
        config: dict[str, Any] = json.loads((file.parent / CONFIG).read_text(encoding="utf-8"))
        stated = {**config["model_cfg"], "quick_gelu": False}
        plain = import_open_clip().get_model_config(asked.plain)
        is_of_it = canonical(stated) == canonical({**plain, "quick_gelu": False})
    except _UNUSABLE:
        return None
    return config if is_of_it else None


def _usual(asked: Architecture, name: str, file: Path) -> Mapping[str, Any] | None:
    """Return what all published weights of this architecture want of pictures; None: open_clip's.

    Raises:
        ConfigurationError: they differ.
    """
    quick_gelu = name != asked.plain
    ways: list[dict[str, Any]] = []
    for config in _tags(asked).values():
        way = {each: config.get(each) for each in _PREPROCESSING}
        same = not asked.has_twin or bool(config.get("quick_gelu", False)) == quick_gelu
        if same and way not in ways:
            ways.append(way)
    if len(ways) > 1:
        raise ConfigurationError(
            f"TAGGING_PRETRAINED={file}: weights of {name} were trained on pictures normalised in"
            f" {len(ways)} ways, and nothing says in which. Put its {CONFIG} beside it"
        )
    return ways[0] if ways else None


def _in_folder(folder: Path) -> WeightsSource:
    file = _weights_in(folder)
    config = _config_of(folder)
    _check_activation(config, file)
    name = f"{LOCAL}{folder}"
    return WeightsSource(name, name)


def _weights_in(folder: Path) -> Path:
    """Return the file that open_clip takes.

    Raises:
        ConfigurationError: there is none.
    """
    setting = f"TAGGING_MODEL={LOCAL}{folder}"
    if not folder.is_dir():
        raise ConfigurationError(f"{setting}: there is no such folder")
    import_open_clip()
    from open_clip.factory import _find_checkpoint_in_dir

    if not any(each.suffix in {".safetensors", ".bin", ".pth"} for each in folder.iterdir()):
        for each in sorted(folder.glob("*.pt")):
            _refuse_archive(each)
        raise ConfigurationError(f"{setting}: no weights (.safetensors, .bin or .pth) in it")
    file = Path(_find_checkpoint_in_dir(folder))
    _refuse_archive(file)
    return file


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        canonical(config)
    except _UNUSABLE as error:
        raise ConfigurationError(
            f"TAGGING_MODEL={LOCAL}{folder}: {path} cannot be used: {type(error).__name__}: {error}"
        ) from error
    return config


def _check_activation(config: Mapping[str, Any], file: Path) -> None:
    """Refuse a folder whose configuration contradicts what is known of its weights."""
    open_clip = import_open_clip()
    stated = bool(config.get("quick_gelu", False))
    wanted = noted(file)
    plain = canonical({**config, "quick_gelu": False})
    for name in open_clip.list_models():
        asked = architecture(name)
        if asked is None or asked.quick_gelu is not None or not asked.has_twin:
            continue
        if canonical(open_clip.get_model_config(name)) == plain:
            recognised = known(file)
            wanted = recognised.quick_gelu if recognised else wanted
    if wanted is not None and wanted != stated:
        raise ConfigurationError(
            f'{file.parent / CONFIG} says "quick_gelu": {json.dumps(stated)}, but {file.name} was'
            f" trained with {'QuickGELU' if wanted else 'GELU'}: write {json.dumps(wanted)}"
        )


def _in_repository(repository: str) -> WeightsSource:
    """Return a repository of the hub as the folder that its cache has of it."""
    folder = weights.at_hand(repository, (CONFIG,)).parent
    file = weights.at_hand(repository, weights.WEIGHTS)
    if file.parent != folder:  # the hub moved on between two downloads
        raise ConfigurationError(
            f"TAGGING_MODEL={HUB}{repository}: {CONFIG} and weights are of different revisions"
            f" in the hub's cache: remove {folder.parents[1]}"
        )
    name = f"{LOCAL}{folder}"
    text = _config_of(folder)["text_cfg"]
    return WeightsSource(name, f"{HUB}{repository}" if text.get("hf_tokenizer_name") else name)
