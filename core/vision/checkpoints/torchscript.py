"""TorchScript archives: a program with its weights, in a zip file.

openai publishes its weights so. The program is never run. Its table of tensors is a pickle, which a
sealed decoder process reads (`sealed_pickle`); the numbers themselves are copied as they lie.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from core.errors import ConfigurationError
from core.settings import MIB
from core.vision.checkpoints import sealed_pickle
from core.vision.decoding import sealing
from core.vision.decoding.limits.deadline import TimeLimit
from core.vision.decoding.worker_process import DecoderProcess, Died, NotStarted, PoolLimits, ending

#: ViT-L-14's table of some 600 tensors has 0.2 MB.
MAX_TABLE_BYTES = 16 * MIB
_TIME_S = 60.0
_MEMORY_BYTES = 1024 * MIB
_MAX_DIMENSIONS = 8
#: What `zipfile` raises of a file that it cannot read; RuntimeError: encrypted, or a later format.
_NOT_ZIP = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in the archive.

    Attributes:
        name: as in a state dict.
        kind: of its numbers, as .safetensors names it.
        storage: the record that holds the numbers.
        numbers: how many that record has.
        offset: of the first one in it.
        shape: of the tensor.
        strides: numbers from one element to the next, per dimension.
    """

    name: str
    kind: str
    storage: str
    numbers: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Return the size of the tensor when its numbers lie side by side."""
        return math.prod(self.shape) * sealed_pickle.BYTES[self.kind]


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds.

    Attributes:
        tensors: by name.
        classes: the names of the classes of its modules, by the modules' names.
    """

    tensors: Mapping[str, StoredTensor]
    classes: Mapping[str, str]


class NotReadable(ConfigurationError):
    """An archive that is damaged, or holds what weights do not."""


def is_archive(path: Path) -> bool:
    """Return whether a file is a TorchScript archive, as torch itself tells them."""
    with suppress(*_NOT_ZIP):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/constants.pkl") for name in archive.namelist())
    return False


class Archive:
    """An open archive. Use as a context manager.

    Raises:
        NotReadable: it is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except _NOT_ZIP as error:
            raise NotReadable(f"{path} is no TorchScript archive: {error}") from error
        tables = [name for name in self._zip.namelist() if name.endswith("/data.pkl")]
        if len(tables) != 1:
            self._zip.close()
            raise NotReadable(f"{path} is no TorchScript archive: {len(tables)} tables of tensors")
        self._root = tables[0].removesuffix("data.pkl")
        self._path = path
        self._last: tuple[str, bytes] = ("", b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    async def contents(self) -> Contents:
        """Return what the archive holds, read in a process that can do nothing else.

        Raises:
            NotReadable: its table is damaged, or is none of tensors alone.
        """
        table = self._record("data.pkl", MAX_TABLE_BYTES)
        return checked(await _read_sealed(table), self._path)

    def numbers(self, tensor: StoredTensor) -> bytes:
        """Return a tensor's numbers side by side.

        Raises:
            NotReadable: they are not there.
        """
        size = sealed_pickle.BYTES[tensor.kind]
        if self._last[0] != tensor.storage:
            data = self._record(f"data/{tensor.storage}", tensor.numbers * size)
            self._last = tensor.storage, data
        data = self._last[1]
        end = tensor.offset + sum(
            (length - 1) * stride
            for length, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        if len(data) != tensor.numbers * size or end >= tensor.numbers:
            raise NotReadable(f"{self._path}: {tensor.name} lies outside of its numbers")
        flat = np.frombuffer(data, np.dtype(f"u{size}"))[tensor.offset :]
        view = np.lib.stride_tricks.as_strided(
            flat, tensor.shape, [stride * size for stride in tensor.strides], writeable=False
        )
        return np.ascontiguousarray(view).tobytes()

    def _record(self, name: str, most: int) -> bytes:
        try:
            found = self._zip.getinfo(self._root + name)
            if found.compress_type != zipfile.ZIP_STORED or found.file_size > most:
                raise NotReadable(f"{self._path}: {name} is compressed or too large")
            return self._zip.read(found)
        except (KeyError, *_NOT_ZIP) as error:
            raise NotReadable(f"{self._path}: {name} is damaged: {error}") from error


async def _read_sealed(table: bytes) -> Any:
    """Return the table of tensors that a sealed process makes of a pickle."""
    sealing.conceal()  # the process runs as our user; see decision 0026
    limits = PoolLimits(
        workers=1, timeout_s=_TIME_S, memory_bytes=_MEMORY_BYTES, max_image_bytes=MAX_TABLE_BYTES
    )
    operations = f"{sealed_pickle.__name__}:{sealed_pickle.operations.__qualname__}"
    try:
        process = DecoderProcess(limits, operations)
    except NotStarted as error:
        raise NotReadable(f"no process to read the archive in: {error}") from error
    try:
        await process.ready()
        limit = TimeLimit(_TIME_S, 2 * _TIME_S)
        head, body = await process.exchange({"do": "table"}, table, MAX_TABLE_BYTES, limit)
    except NotStarted as error:
        raise NotReadable(f"no process to read the archive in: {error}") from error
    except Died as error:
        raise NotReadable(f"the archive ended its reader by {ending(error.status)}") from error
    except TimeoutError as error:
        raise NotReadable(f"the archive's table took more than {_TIME_S:g} s") from error
    finally:
        process.kill()
        await process.end()
    if "error" in head:
        raise NotReadable(f"the archive's table cannot be read: {head['error']}")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise NotReadable("the archive's reader answered no JSON") from error


def checked(told: Any, path: Path) -> Contents:
    """Return contents of which each number is known to be sane: their reader is not trusted.

    Raises:
        NotReadable: it is not.
    """
    try:
        tensors = [_tensor(each) for each in told["tensors"]]
        classes = {str(name): str(kind) for name, kind in told["classes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotReadable(f"{path}: its table is none of tensors: {error!r}") from error
    if not tensors:
        raise NotReadable(f"{path}: no tensors in it")
    return Contents({tensor.name: tensor for tensor in tensors}, classes)


def _tensor(told: Mapping[str, Any]) -> StoredTensor:
    shape = tuple(_natural(each) for each in told["shape"])
    strides = tuple(_natural(each) for each in told["strides"])
    storage = told["storage"]
    if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS or 0 in shape:
        raise ValueError(f"shape {shape}, strides {strides}")
    if told["kind"] not in sealed_pickle.BYTES or not str(storage).isalnum():
        raise ValueError(f"{told['kind']} in {storage}")
    tensor = StoredTensor(
        str(told["name"]),
        told["kind"],
        str(storage),
        _natural(told["numbers"]),
        _natural(told["offset"]),
        shape,
        strides,
    )
    if math.prod(shape) > tensor.numbers:  # a small record must not become a large file
        raise ValueError(f"{tensor.name} has more numbers than are stored")
    return tensor


def _natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise ValueError(f"{value!r} is no size")
    return value
