"""A decoder and a model for work that others must not wait for.

Each step (a picture decoded, a call of the model) begins when `turn` returns, and is short: so who
comes in between waits for one step, and not for a batch.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import PermanentError
from core.tags import Label, Postponed
from core.vision.decoding.pool.answers import Decoded
from core.vision.ports import Decoder, ImageModel

SHORT_S = 0.1  # a third of what an upload may take from its arrival to its tags
LEAST_S = 1e-6  # no model is as quick; a clock may stand still
#: Returns when a step may begin.
Turn = Callable[[], Awaitable[None]]


class YieldingDecoder:
    """Decodes when it is its turn.

    Args:
        decoder: gives the pixels; it serves its callers in the order in which they came.
        at_once: most pictures at a time: as many as it has workers, so that none of ours stands
            before those of others.
    """

    def __init__(self, decoder: Decoder, turn: Turn, at_once: int) -> None:
        self._decoder = decoder
        self._turn = turn
        self._places = asyncio.Semaphore(at_once)

    async def decode(self, data: bytes) -> Decoded | PermanentError | Postponed:
        """Return the picture, what is wrong with it, or why it is to be decoded later."""
        async with self._places:
            await self._turn()
            return await self._decoder.decode(data)


class YieldingModel:
    """Encodes a batch in parts, each when it is its turn.

    A part takes about `SHORT_S`, but has no fewer pictures than lose time: on two cores that is the
    whole batch for a small model and 8 pictures for a large one.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(
        self, model: ImageModel, turn: Turn, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model = model
        self._turn = turn
        self._clock = clock
        self._per_picture_s = SHORT_S  # until it is known
        self.identity = model.identity
        self.logit_scale = model.logit_scale
        self.logit_bias = model.logit_bias

    @property
    def small_batch(self) -> int:
        """Return the fewest pictures in a call that lose no time."""
        return self._model.small_batch

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings of pictures."""
        rows: list[NDArray[np.float32]] = []
        at = 0
        while at < len(batch):
            part = batch[at : at + max(self.small_batch, int(SHORT_S / self._per_picture_s))]
            await self._turn()
            began = self._clock()
            rows.append(await self._model.encode(part))
            self._per_picture_s = max((self._clock() - began) / len(part), LEAST_S)
            at += len(part)
        return np.concatenate(rows)

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return one vector per label. They are kept, so it takes time only once."""
        return await self._model.text_features(labels, templates)
