"""Read the pickle of a TorchScript archive: what a sealed decoder process does with it.

A pickle is a program for a small machine. This one knows torch's tensors, `OrderedDict` and empty
objects in place of the archive's modules, and runs where nothing but memory can be reached
(docs/decisions/0026-sealed-decoders.md). Imports nothing but the standard library.
"""

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.vision.decoding import worker, worker_protocol

#: torch's storages as .safetensors names their numbers, with the bytes of one.
_KINDS = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
BYTES = dict(_KINDS.values())
_MAX_PARTS = 100_000
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Numbers:
    """A tensor's place; see `torchscript.StoredTensor`."""

    kind: str
    storage: str
    numbers: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class ArchivePart:
    """A module of the archive, as the pickle fills it."""

    kind = ""
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class TablePickle(pickle.Unpickler):
    """An unpickler that knows no names but those of tensors and of the archive's own classes."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return what stands for a name.

        Raises:
            UnpicklingError: no table of tensors needs it.
        """
        if module_name.startswith("__torch__"):
            return type("OfArchive", (ArchivePart,), {"kind": global_name})
        if module_name == "torch" and global_name in _KINDS:
            return _KINDS[global_name][0]
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
            **{("torch.jit._pickle", name): list for name in _LISTS},
        }
        if (module_name, global_name) not in known:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is none of a tensor's names")
        return known[module_name, global_name]

    def persistent_load(self, pid: Any) -> Any:
        """Return what is known of a storage: (kind, record, numbers)."""
        what, kind, record, _place, numbers = pid
        if what != "storage":
            raise pickle.UnpicklingError(f"{what!r} is no storage")
        return kind, record, numbers


_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Numbers:
    kind, record, numbers = storage
    return Numbers(kind, record, numbers, offset, tuple(shape), tuple(strides))


def table(data: bytes) -> dict[str, Any]:
    """Return the tensors of a pickle, by their names in a state dict, and the modules' classes."""
    tensors, classes = [], {}
    for count, (name, part) in enumerate(_walk("", TablePickle(io.BytesIO(data)).load(), 0)):
        if count > _MAX_PARTS:
            raise ValueError(f"more than {_MAX_PARTS} parts")
        if isinstance(part, Numbers):
            tensors.append({"name": name, **asdict(part)})
        else:
            classes[name] = part.kind
    return {"tensors": tensors, "classes": classes}


def _walk(name: str, part: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"modules within more than {_MAX_DEPTH} modules")
    if isinstance(part, Numbers):
        yield name, part
    elif isinstance(part, ArchivePart):
        yield name, part
        if isinstance(part.state, dict):
            for key, inner in part.state.items():
                yield from _walk(f"{name}.{key}" if name else str(key), inner, depth + 1)


def operations(_: worker.Job) -> Mapping[str, worker.Operation]:
    """Return what the process can do."""

    def answer(data: bytes, _: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        return {}, json.dumps(table(data)).encode()

    found: dict[str, Callable[..., Any]] = {"table": answer}
    return found
