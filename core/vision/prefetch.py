"""Decode ahead of the model, in batches of the pictures that are ready, without a timer."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from core.errors import PermanentError
from core.tags import Postponed
from core.vision.decoding.pool.answers import Decoded

#: An image's place in the caller's order, and its pixels, error, or why it has neither yet.
Outcome = tuple[int, Decoded | PermanentError | Postponed]
Decode = Callable[[bytes], Awaitable[Decoded | PermanentError | Postponed]]

# A forward pass of 8 uses a CPU as well as a larger one does: 11.2 images per CPU second at 8, 10.5
# at 32, 6.6 at 1 (docs/research/clip.md, section 4). So 8 are waited for while as many are sure to
# come; beyond that, whatever is decoded when the model is free goes in.
_WORTH_WAITING_FOR = 8


async def decoded_batches(
    decode: Decode, images: Sequence[tuple[int, bytes]], *, max_images: int, max_pixels: int
) -> AsyncGenerator[list[Outcome], None]:
    """Yield every image's outcome once, in batches, in the order in which they are ready.

    While the caller works on one batch, the next is being decoded: at most two batches are
    decoding or waiting. To be used inside `contextlib.aclosing`, which cancels what is left.

    Args:
        decode: bytes to pixels; an image's fault is a value, an outage is raised.
        images: (place, bytes).
        max_images: most images in a batch.
        max_pixels: most source pixels in a batch of more than one image.
    """
    line = _Line(decode, images, window=2 * max_images)
    least = min(_WORTH_WAITING_FOR, max_images)
    try:
        while line.remaining:
            await line.wait_for(min(least, line.remaining))
            yield line.take(max_images, max_pixels)
    finally:
        await line.cancel()


class _Line:
    """Images on their way: waiting, decoding, ready."""

    def __init__(self, decode: Decode, images: Sequence[tuple[int, bytes]], *, window: int) -> None:
        self._decode = decode
        self._waiting = deque(images)
        self._decoding: set[asyncio.Task[Outcome]] = set()
        self._ready: deque[Outcome] = deque()
        self._window = window

    @property
    def remaining(self) -> int:
        return len(self._waiting) + len(self._decoding) + len(self._ready)

    async def wait_for(self, count: int) -> None:
        """Wait until `count` images are ready; take over all that are."""
        self._harvest()
        self._start()
        while len(self._ready) < count:
            await asyncio.wait(self._decoding, return_when=asyncio.FIRST_COMPLETED)
            self._harvest()
            self._start()

    def take(self, max_images: int, max_pixels: int) -> list[Outcome]:
        batch: list[Outcome] = []
        pixels = 0
        while self._ready and len(batch) < max_images:
            pixels += _pixels(self._ready[0][1])
            if batch and pixels > max_pixels:
                break
            batch.append(self._ready.popleft())
        return batch

    async def cancel(self) -> None:
        for task in self._decoding:
            task.cancel()
        await asyncio.gather(*self._decoding, return_exceptions=True)

    def _start(self) -> None:
        while self._waiting and len(self._decoding) + len(self._ready) < self._window:
            at, data = self._waiting.popleft()
            # Not a TaskGroup: it would wrap an outage in an ExceptionGroup, which the role's
            # retry does not look into. `cancel` sees to it that no task is left behind.
            self._decoding.add(asyncio.create_task(self._one(at, data)))

    def _harvest(self) -> None:
        done = {task for task in self._decoding if task.done()}
        self._decoding -= done
        self._ready.extend(task.result() for task in done)

    async def _one(self, at: int, data: bytes) -> Outcome:
        return at, await self._decode(data)


def _pixels(outcome: Decoded | PermanentError | Postponed) -> int:
    return outcome.width * outcome.height if isinstance(outcome, Decoded) else 0
