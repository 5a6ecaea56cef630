"""open_clip behind a small port: pixels and prompts to unit vectors, on one device.

torch and open_clip are imported where they are used: only the tagging process pays for them.
Everything here blocks; `clip.ClipModel` runs it on a thread of its own.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from core.settings import TaggingSettings
from core.vision.checkpoints.loading import identity_of, load, tokenizer
from core.vision.checkpoints.source import find_source
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.engines.hardware import choose_device, choose_precision
from core.vision.parallel import SMALLEST_PART, SideBySide

DEMO_FOLDER = Path(__file__).parent / "demo_model"
_TEXT_CHUNK = 64
#: A forward pass of 8 uses a CPU as well as a larger one does (docs/research/clip.md, section 4).
CPU_BATCH = 8
# torch's DefaultCPUAllocator says the first or the second, ONNX Runtime the others
_NO_ROOM = (
    "can't allocate memory",
    "not enough memory",
    "Failed to allocate memory",
    "std::bad_alloc",
)

log = structlog.get_logger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device or the host had no room, whatever torch calls it this time."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True  # torch.OutOfMemoryError; by name, so that tests need no torch
    # ONNX Runtime's errors are exceptions of its own, without a common parent
    is_theirs = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")
    return is_theirs and any(words in str(error) for words in _NO_ROOM)


class TorchTowers:
    """The two towers of one open_clip model.

    Attributes:
        identity: `name@hash`, the same for the same weights, whichever way they came.
        dim: length of an embedding.
        logit_scale: factor before softmax or sigmoid (100 for openai's weights).
        logit_bias: SigLIP's bias; None for CLIP.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `bf16` or `fp16`.
        threads: of the CPU in all, divided among parts that run at the same time.
    """

    def __init__(self, settings: TaggingSettings) -> None:
        import torch

        from core.vision.engines.norm_folding import folded  # imports torch

        self._torch = torch
        if settings.torch_threads:
            _set_threads(settings.torch_threads)
        self.threads: int = torch.get_num_threads()
        self._max_batch = settings.batch_max_images
        self._parts: SideBySide | None = None
        self.device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        source = find_source(settings.model, settings.pretrained, DEMO_FOLDER)
        self._model = load(source).eval()
        self._tokenizer = tokenizer(source)
        self.identity = identity_of(source, self._model, DEMO_FOLDER)
        self.logit_scale = float(self._model.logit_scale.detach().exp())
        bias = getattr(self._model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias.detach())
        self._config: dict[str, Any] = self._model.visual.preprocess_cfg
        # after the hash: the weights keep their identity
        self._model.visual = folded(self._model.visual, self._config["size"])
        self._place(self.device, self.precision)
        self.dim = int(self.encode_texts(["a photo"]).shape[1])

    @property
    def small_batch(self) -> int:
        """Return the fewest pictures in a call with which it is about as fast as it can be.

        On an accelerator each call costs time of its own, so there it is the largest batch.
        """
        if self.device != "cpu" or self._parts is None:
            return self._max_batch
        return max(CPU_BATCH, self._parts.workers * SMALLEST_PART)

    def pixel_format(self, *, fast: bool) -> PixelFormat:
        """Return the form of the pixels that `encode_pixels` takes."""
        size = self._config["size"]
        height, width = (size, size) if isinstance(size, int) else size
        return PixelFormat(
            height=height,
            width=width,
            resize_mode=self._config["resize_mode"],
            interpolation=self._config["interpolation"],
            fill=int(self._config["fill_color"]),
            fast=fast,
        )

    def encode_pixels(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings: uint8 (n, height, width, 3) -> float32 (n, dim), unit length."""
        return self._parts.run(self._forward, batch) if self._parts else self._forward(batch)

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            # uint8 crosses to the device, a quarter of the bytes
            rows: NDArray[np.float32] = self.embed(self._to_device(batch)).cpu().numpy()
            return rows[: len(batch)]

    def embed(self, batch: Any) -> Any:
        """Return unit embeddings of pixels, from tensor to tensor, on the model's device.

        Normalises with the operations and the order of open_clip's transform, so that fp32 is
        bit-equal to it.
        """
        pixels = batch.permute(0, 3, 1, 2).float().div_(255)
        pixels = pixels.sub_(self._mean).div_(self._std).to(self._dtype)
        return self._unit(self._model.encode_image(pixels))

    def encode_texts(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return embeddings of prompts: float32 (n, dim), unit length."""
        parts = []
        with self._torch.inference_mode():
            for at in range(0, len(prompts), _TEXT_CHUNK):
                tokens = self._tokenizer(list(prompts[at : at + _TEXT_CHUNK])).to(self.device)
                parts.append(self._unit(self._model.encode_text(tokens)).cpu().numpy())
        return np.concatenate(parts)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and standard deviation per channel that normalise pixels of 0..1."""
        return tuple(self._config["mean"]), tuple(self._config["std"])

    @property
    def image_tower(self) -> Any:
        """Return the torch module behind `encode_pixels`."""
        return self._model.visual

    def in_precision(self, precision: str) -> "TorchTowers":
        """Return a copy in another precision; this one keeps its weights.

        Raises:
            ConfigurationError: the device has no units for it.
        """
        twin = copy.copy(self)
        twin.precision = choose_precision(precision, self.device)
        twin._model = copy.deepcopy(self._model)  # noqa: SLF001  # one of us
        twin._place(self.device, twin.precision)  # noqa: SLF001
        return twin

    def drop_image_tower(self) -> None:
        """Free the image tower's memory; `encode_texts` goes on."""
        self._model.visual = self._torch.nn.Identity()

    def fall_back(self) -> bool:
        """Move from a device without memory to the CPU; return False if already there."""
        if self.device == "cpu":
            return False
        log.warning("model_moved_to_cpu", device=self.device)
        self.device, self.precision = "cpu", "fp32"
        self._place("cpu", "fp32")
        self.release()
        return True

    def release(self) -> None:
        """Free the device's cached blocks, after the exception that held tensors is gone."""
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def _place(self, device: str, precision: str) -> None:
        torch = self._torch
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            precision
        ]
        if device == "cpu" and self._parts is None:
            self._parts = SideBySide(self.threads, self._max_batch, _set_threads)
        self._model = self._model.to(device=device, dtype=self._dtype)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(self._config["mean"], device=device).view(shape)
        self._std = torch.tensor(self._config["std"], device=device).view(shape)

    def _to_device(self, batch: NDArray[np.uint8]) -> Any:
        if self.device == "cpu":
            return self._torch.from_numpy(np.ascontiguousarray(batch))
        # Few distinct shapes let the allocator reuse its blocks and the kernels their plans.
        bucket = 1 << (len(batch) - 1).bit_length()
        padded = np.zeros((bucket, *batch.shape[1:]), np.uint8)
        padded[: len(batch)] = batch
        pinned = self._torch.from_numpy(padded).pin_memory()
        return pinned.to(self.device, non_blocking=True)

    def _unit(self, features: Any) -> Any:
        return self._torch.nn.functional.normalize(features.float(), dim=-1)


def _set_threads(threads: int) -> None:
    """Tell torch how many threads the calling thread may use.

    Torch remembers the number for the process as well and takes that over on a thread's first
    parallel step or question, hence the question first.
    """
    import torch

    torch.get_num_threads()
    torch.set_num_threads(threads)
