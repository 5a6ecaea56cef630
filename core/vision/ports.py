"""What tagging needs from the decoder and the model."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import PermanentError
from core.tags import Label, Postponed
from core.vision.decoding.pool.answers import Decoded
from core.vision.decoding.worker_protocol import PixelFormat


class Decoder(Protocol):
    """Bytes to pixels; `decoder.DecodePool`, with or without regard to others who wait."""

    async def decode(self, data: bytes) -> Decoded | PermanentError | Postponed:
        """Return the picture, or what is wrong with it, or why it is to be decoded later."""
        ...


class ImageModel(Protocol):
    """Pixels and labels to unit vectors; `clip.ClipModel`."""

    identity: str
    logit_scale: float
    logit_bias: float | None

    @property
    def small_batch(self) -> int:
        """Return the fewest pictures in a call with which it is about as fast as it can be."""
        ...

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings of pictures."""
        ...

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return one vector per label."""
        ...


class Towers(Protocol):
    """The blocking model: `towers.TorchTowers` and `engines.onnx_towers.OnnxTowers`."""

    identity: str
    dim: int
    logit_scale: float
    logit_bias: float | None

    @property
    def small_batch(self) -> int:
        """Return the fewest pictures in a call with which it is about as fast as it can be."""
        ...

    def pixel_format(self, *, fast: bool) -> PixelFormat:
        """Return the form of pixels that it takes."""
        ...

    def encode_pixels(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings of pictures."""
        ...

    def encode_texts(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit embeddings of prompts."""
        ...

    def fall_back(self) -> bool:
        """Move to the CPU; False where it is there already."""
        ...

    def release(self) -> None:
        """Return cached memory to the system."""
        ...
