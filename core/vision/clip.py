"""The model behind an asynchronous interface: it runs on a thread of its own."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import GpuOutOfMemory
from core.tags import Label
from core.vision.batch_size import BatchCeiling, NoRoom, encode_in_parts
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.ports import Towers
from schemas.labels import MAX_LABELS

#: For labels without templates of their own. There are three, not open_clip's 80, since the text
#: tower runs once per label and template, and an archive may have thousands of labels.
DEFAULT_TEMPLATES = ("a photo of {}", "a photo of a {}", "a picture of {}")
#: Prompts that fit any picture: `scoring = threshold` compares labels with them.
BACKGROUND_PROMPTS = ("a photo", "an image", "a picture of something")

# Prompts per turn on the model's thread: between turns a batch of pictures may go first.
_PROMPTS_PER_TURN = 64
_MAX_CACHED_TEXTS = MAX_LABELS + 2768  # 32,768 vectors of 512 floats are 64 MiB

T = TypeVar("T")


class ClipModel:
    """One CLIP or SigLIP model on a thread of its own.

    Args:
        towers: the model; everything it does happens on `executor`.
        executor: a single thread. Torch's thread settings belong to it; a batch is divided among
            the processor's cores by the towers, not by batches that compete.
        max_batch: most pictures in one forward pass.
        is_out_of_memory: tells exceptions that a smaller batch may cure.
        halved: is called, on the thread, when a batch did not fit.
    """

    def __init__(
        self,
        towers: Towers,
        executor: ThreadPoolExecutor,
        *,
        max_batch: int,
        is_out_of_memory: Callable[[BaseException], bool],
        halved: Callable[[], object] = lambda: None,
    ) -> None:
        self._towers = towers
        self._executor = executor
        self._is_out_of_memory = is_out_of_memory
        self._ceiling = BatchCeiling(max_batch, halved=halved)
        self._texts: OrderedDict[tuple[str, tuple[str, ...]], NDArray[np.float32]] = OrderedDict()
        self.identity = towers.identity
        self.dim = towers.dim
        self.logit_scale = towers.logit_scale
        self.logit_bias = towers.logit_bias
        self.max_batch = max_batch
        self.fell_back = 0  #: moves to the CPU since the start: 0 or 1

    @property
    def small_batch(self) -> int:
        """Return the fewest pictures in a call with which it is about as fast as it can be."""
        return min(self._towers.small_batch, self.max_batch)

    def pixel_format(self, *, fast: bool) -> PixelFormat:
        """Return the form of pixels that `encode` takes."""
        return self._towers.pixel_format(fast=fast)

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings: uint8 (n, height, width, 3) -> float32 (n, dim), unit length.

        Raises:
            GpuOutOfMemory: not even one picture fits, on the CPU either.
        """
        if not len(batch):
            return np.zeros((0, self.dim), np.float32)
        return await self._on_thread(lambda: self._encode(batch))

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str] = DEFAULT_TEMPLATES
    ) -> NDArray[np.float32]:
        """Return one unit vector per label: float32 (labels, dim).

        The mean over the label's templates, or over `templates` where it has none, made unit
        length again (the ensemble of the CLIP paper, section 3.1.4). Kept in memory per label and
        templates, so that a label set that changes by one label encodes one.
        """
        keys = [(label.name, label.templates or tuple(templates)) for label in labels]
        found = {key: self._texts[key] for key in keys if key in self._texts}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        for turn in _turns(missing):
            found.update(await self._on_thread(partial(self._ensembles, turn)))
        self._remember(found)
        if not keys:
            return np.zeros((0, self.dim), np.float32)
        return np.stack([found[key] for key in keys])

    def _encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        while True:
            try:
                return encode_in_parts(
                    batch,
                    self._towers.encode_pixels,
                    self._ceiling,
                    self._is_out_of_memory,
                    self._towers.release,
                )
            except NoRoom as error:
                if not self._towers.fall_back():
                    raise GpuOutOfMemory("no room for a single picture, on the CPU") from error
                self.fell_back += 1
                self._ceiling.reset()

    def _ensembles(
        self, keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> dict[tuple[str, tuple[str, ...]], NDArray[np.float32]]:
        # replace, not format: names and templates are untrusted and may contain braces
        prompts = [text.replace("{}", name) for name, texts in keys for text in texts]
        rows = self._towers.encode_texts(prompts)
        means = {}
        at = 0
        for key in keys:
            mean = rows[at : at + len(key[1])].mean(axis=0)
            means[key] = mean / max(float(np.linalg.norm(mean)), 1e-12)
            at += len(key[1])
        return means

    def _remember(self, found: dict[tuple[str, tuple[str, ...]], NDArray[np.float32]]) -> None:
        for key, row in found.items():
            self._texts[key] = row
            self._texts.move_to_end(key)
        while len(self._texts) > _MAX_CACHED_TEXTS:
            self._texts.popitem(last=False)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _turns(
    keys: Sequence[tuple[str, tuple[str, ...]]],
) -> list[list[tuple[str, tuple[str, ...]]]]:
    """Yield groups of keys with about `_PROMPTS_PER_TURN` prompts each."""
    turns: list[list[tuple[str, tuple[str, ...]]]] = []
    room = 0
    for key in keys:
        if room < len(key[1]):
            turns.append([])
            room = _PROMPTS_PER_TURN
        turns[-1].append(key)
        room -= len(key[1])
    return turns
