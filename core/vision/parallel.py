"""Parts of a batch at the same time, each on its own share of the processor.

Threads within one forward pass synchronise at every layer, and on a busy machine each time wait for
a thread that is not scheduled. Parts that run side by side synchronise once, at the end. See
docs/decisions/0016-parts-of-a-batch.md.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from core.vision.batch_size import Run

#: Least pictures of a part: with fewer there was no gain, since each part reads all weights.
SMALLEST_PART = 4


class SideBySide:
    """Workers that share the processor's threads.

    Args:
        threads: of the processor, in all.
        max_batch: most pictures in a batch.
        set_threads: called on each worker's own thread with its share of `threads`, and at last on
            the calling thread with all of them.

    Attributes:
        workers: how many there are; their shares are equal and add up to `threads`.
    """

    def __init__(self, threads: int, max_batch: int, set_threads: Callable[[int], object]) -> None:
        most = max(1, max_batch // SMALLEST_PART)
        self.workers = max(n for n in range(1, threads + 1) if n <= most and threads % n == 0)
        share = threads // self.workers
        # One executor each, so that a worker that cannot be set up raises here.
        self._executors = [ThreadPoolExecutor(1, "part") for _ in range(self.workers)]
        for executor in self._executors:
            executor.submit(set_threads, share).result()
        set_threads(threads)

    def run(self, work: Run, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return `work` of the batch, rows in order.

        Too few pictures for all workers go through the calling thread, with all threads.

        Raises:
            Exception: what `work` raised for the first part that failed, when none is at work
                any more: a smaller batch may be tried next, and needs the room.
        """
        if self.workers == 1 or len(batch) < self.workers * SMALLEST_PART:
            return work(batch)
        parts = [
            executor.submit(work, part)
            for executor, part in zip(
                self._executors, np.array_split(batch, self.workers), strict=True
            )
        ]
        wait(parts)
        parts.reverse()
        rows = []
        while parts:
            rows.append(_result(parts.pop()))
        return np.concatenate(rows)


def _result(part: "Future[NDArray[np.float32]]") -> NDArray[np.float32]:
    """Return the future's result, and forget the future.

    If an error's traceback referred to its own future, the tensors of the failed pass would stay in
    memory until a garbage collection, see `batch_size`.
    """
    try:
        return part.result()
    finally:
        del part
