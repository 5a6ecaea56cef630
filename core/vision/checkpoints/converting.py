"""Convert a TorchScript archive into a folder that open_clip loads, without torch."""

import json
import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.vision.checkpoints import published, shapes
from core.vision.checkpoints.sealed_pickle import BYTES
from core.vision.checkpoints.torchscript import Archive, Contents, NotReadable, StoredTensor

#: Beside the weights in openai's archives: numbers that the model's own code looks up.
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
_ALIGNMENT = 8
_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of openai's pictures, as in its own code
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion made.

    Attributes:
        folder: for `TAGGING_MODEL=local-dir:FOLDER`.
        tensors: how many there are.
        quick_gelu: the activation that was written down with them.
        known_as: the published weights that these are; None where the hash is not known.
    """

    folder: Path
    tensors: int
    quick_gelu: bool
    known_as: str | None


async def convert(file: Path, folder: Path, *, quick_gelu: bool | None = None) -> Converted:
    """Write the weights of a TorchScript archive as .safetensors, with their configuration.

    Args:
        file: the archive; it is read, never run.
        folder: to be made; it must not exist.
        quick_gelu: the activation, where neither the file's hash nor its own classes say.

    Raises:
        ConfigurationError: the archive is damaged or no CLIP model, or nothing says the activation.
        OSError: the folder cannot be written.
    """
    known = _look(file, folder)
    with Archive(file) as archive:
        contents = await archive.contents()
        told = known.quick_gelu if known else activation(contents)
        decided = _decided(file, told=told, asked=quick_gelu)
        tensors = _weights(contents, file)
        config = shapes.configuration({name: each.shape for name, each in tensors.items()})
        _write(archive, tensors, {**config, "quick_gelu": decided}, folder)
    name = f"{known.architecture}/{known.tag}" if known else None
    return Converted(folder, len(tensors), decided, name)


def _look(file: Path, folder: Path) -> published.Published | None:
    if not file.is_file():
        raise ConfigurationError(f"{file} is no file")
    if folder == file.absolute():
        raise ConfigurationError(f"{file}: name the folder to make by --to")
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already: remove it, or name another by --to")
    return published.by_hash(published.sha256_of(file))


def _decided(file: Path, *, told: bool | None, asked: bool | None) -> bool:
    if None not in (told, asked) and told != asked:
        raise ConfigurationError(f"{file} was trained with {'QuickGELU' if told else 'GELU'}")
    decided = asked if told is None else told
    if decided is None:
        raise ConfigurationError(
            f"{file}: nothing says which activation its weights want:"
            " give --activation quick_gelu (openai's, MetaCLIP's, DFN's) or --activation gelu"
        )
    return decided


def activation(contents: Contents) -> bool | None:
    """Return whether an archive's modules use QuickGELU; None where they tell no activation."""
    names = {kind for kind in contents.classes.values() if "GELU" in kind.upper()}
    quick = {kind for kind in names if "quick" in kind.lower()}
    return None if not names or (quick and quick != names) else bool(quick)


def _weights(contents: Contents, file: Path) -> dict[str, StoredTensor]:
    found = {
        name: tensor
        for name, tensor in contents.tensors.items()
        if name.rpartition(".")[2] not in _NOT_WEIGHTS
    }
    if sum(each.size_bytes for each in found.values()) > 2 * file.stat().st_size:
        raise NotReadable(f"{file}: its tensors share numbers, and would fill the disk")
    return found


def _write(
    archive: Archive,
    tensors: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write a folder that is whole or not there."""
    scratch = folder.with_name(f".{folder.name}-{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        preprocessing = {"mean": _MEAN, "std": _STD}
        (scratch / "open_clip_config.json").write_text(
            json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}, indent=2) + "\n",
            encoding="utf-8",
        )
        told = {"format": "pt", "activation": "quick_gelu" if config["quick_gelu"] else "gelu"}
        _write_tensors(archive, tensors, told, scratch / "open_clip_model.safetensors")
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_tensors(
    archive: Archive, tensors: Mapping[str, StoredTensor], told: Mapping[str, str], path: Path
) -> None:
    """Write a .safetensors file, one tensor in memory at a time.

    The wider numbers come first, so that all begin at a multiple of their width.
    """
    order = sorted(tensors.values(), key=lambda each: (-BYTES[each.kind], each.storage, each.name))
    header: dict[str, Any] = {"__metadata__": told}
    at = 0
    for tensor in order:
        end = at + tensor.size_bytes
        header[tensor.name] = {
            "dtype": tensor.kind,
            "shape": tensor.shape,
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in order:
            file.write(archive.numbers(tensor))
        if file.tell() != len(text) + 8 + at:
            raise NotReadable(f"{path}: {file.tell()} bytes written")
