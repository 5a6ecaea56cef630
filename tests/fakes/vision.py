"""Doubles of the ports of `core.vision.tagger`, and of the model behind `ClipModel`."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import ImageUnreadable, PermanentError
from core.tags import Label, Postponed, Slowness
from core.vision.decoding import sniff
from core.vision.decoding.pool.answers import Decoded
from core.vision.decoding.worker_protocol import PixelFormat

SIDE = 8
CAMERA = "Box Brownie"


class MemoryDecoder:
    """A decoder that accepts anything with a picture's signature; the pixels are its hash."""

    def __init__(self) -> None:
        self.busy = 0
        self.most_busy = 0

    async def decode(self, data: bytes) -> Decoded | PermanentError | Postponed:
        return self.picture(data)

    def picture(self, data: bytes) -> Decoded | PermanentError:
        """Return the picture, or what is wrong with it."""
        kind = sniff.media_type(data)
        if kind is None:
            return ImageUnreadable(f"{len(data)} bytes", reason="not_an_image" if data else "empty")
        digest = hashlib.sha256(data).digest()
        pixels = np.resize(np.frombuffer(digest, np.uint8), (SIDE, SIDE, 3)).copy()
        looks = int.from_bytes(digest[:8], "big") >> 1
        return Decoded(
            pixels, kind, SIDE, SIDE, digest, None, CAMERA, looks,
            colour=int.from_bytes(digest[:3], "big"), thumb=b"\xff\xd8" + digest + b"\xff\xd9",
        )  # fmt: skip


class PromptDecoder(MemoryDecoder):
    """A decoder that postpones whatever calls itself slow."""

    async def decode(self, data: bytes) -> Decoded | PermanentError | Postponed:
        return Postponed(Slowness.PICTURE) if b"slow" in data else self.picture(data)


class PatientDecoder(MemoryDecoder):
    """A decoder that takes all pictures; those that call themselves bad are too slow even for it.

    Attributes:
        decoded: the pictures so far.
        before: is awaited before each picture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decoded: list[bytes] = []
        self.before: Callable[[], Awaitable[object]] | None = None

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        self.decoded.append(data)
        if self.before is not None:
            await self.before()
        if b" bad" in data:  # with a blank: a random name in hex may spell the word
            return ImageUnreadable("not decoded within 30 s", reason="decoder_timeout")
        return self.picture(data)


class HashModel:
    """A model whose vectors depend only on the picture or the text, not on the batch."""

    def __init__(self, dim: int = 16, logit_bias: float | None = None) -> None:
        self.identity = "hash@0000000000000000"
        self.dim = dim
        self.logit_scale = 20.0
        self.logit_bias = logit_bias
        self.batches: list[int] = []
        self.texts = 0
        self.small_batch = 8

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        return np.stack([unit(picture.tobytes(), self.dim) for picture in batch])

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        self.texts += len(labels)
        return np.stack([unit(label.name.encode(), self.dim) for label in labels])


class KindModel(HashModel):
    """A model with CLIP's gap: pictures of a kind lie together, and all of them far from any text.

    A picture's kind is the remainder of its first byte, as `kind_of` has it of the content.
    """

    KINDS = 4

    def __init__(self) -> None:
        super().__init__(dim=32)

    @classmethod
    def kind_of(cls, content: bytes) -> int:
        """Return the kind of a picture that `MemoryDecoder` decodes."""
        return hashlib.sha256(content).digest()[0] % cls.KINDS

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        return np.stack([self._picture(each) for each in batch])

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        self.texts += len(labels)
        rows = [2 * unit(b"a text", 32) + unit(label.name.encode(), 32) for label in labels]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    def _picture(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        kind = unit(b"kind %d" % (int(pixels.flat[0]) % self.KINDS), 32)
        row = 2 * unit(b"a picture", 32) + kind + 0.5 * unit(pixels.tobytes(), 32)
        made: NDArray[np.float32] = (row / np.linalg.norm(row)).astype(np.float32)
        return made


class HashTowers:
    """The blocking model of `ClipModel`; out of memory above `fits` pictures until it moves."""

    def __init__(self, dim: int = 16, fits: int = 1000) -> None:
        self.identity = "hash@0000000000000000"
        self.dim = dim
        self.logit_scale = 20.0
        self.logit_bias: float | None = None
        self.fits = fits
        self.on_cpu = False
        self.fits_on_cpu = 1000
        self.tried: list[int] = []
        self.released = 0
        self.prompts: list[str] = []
        self.small_batch = 8

    def pixel_format(self, *, fast: bool) -> PixelFormat:
        return PixelFormat(SIDE, SIDE, fast=fast)

    def encode_pixels(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.tried.append(len(batch))
        if len(batch) > (self.fits_on_cpu if self.on_cpu else self.fits):
            raise MemoryError(f"{len(batch)} pictures")
        return np.stack([unit(picture.tobytes(), self.dim) for picture in batch])

    def encode_texts(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        self.prompts += prompts
        return np.stack([unit(prompt.encode(), self.dim) for prompt in prompts])

    def fall_back(self) -> bool:
        moved = not self.on_cpu
        self.on_cpu = True
        return moved

    def release(self) -> None:
        self.released += 1


def unit(data: bytes, dim: int) -> NDArray[np.float32]:
    """Return a unit vector computed from the bytes."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
