"""What tagging needs from the decoder, the model and its caller."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import PermanentError
from core.tags import Label
from core.vision.decoding.decoder import Decoded


class Decoder(Protocol):
    """Bytes to pixels; `decoder.DecodePool`."""

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        """Return the picture, or what is wrong with it."""
        ...


class ImageModel(Protocol):
    """Pixels and labels to unit vectors; `clip.ClipModel`."""

    identity: str
    logit_scale: float
    logit_bias: float | None

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings of pictures."""
        ...

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return one vector per label."""
        ...


class Wish(Protocol):
    """What one image is to be tagged with; None: the default."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The image's own labels."""
        ...

    @property
    def top_k(self) -> int | None:
        """How many tags it may get."""
        ...
