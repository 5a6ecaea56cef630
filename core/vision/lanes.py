"""Parts of a batch side by side on the processor's threads.

Threads within one forward pass meet at every layer, and beside any other busy process each meeting
waits for whoever lost its turn. Parts that go side by side meet once, at the end. Figures:
docs/decisions/0013-engines.md.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier

import numpy as np
from numpy.typing import NDArray

# Every lane reads all of the weights; with fewer pictures than this that costs more than it saves.
_PICTURES_PER_LANE = 8

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Lanes:
    """Threads that share the processor's among them.

    Args:
        threads: of the processor that may be used, in all.
        max_batch: most pictures in a batch.
        set_threads: called on each lane's own thread with its share of `threads`, then on the
            calling thread with all of them: what is said last holds for threads of later.
    """

    def __init__(self, threads: int, max_batch: int, set_threads: Callable[[int], object]) -> None:
        self.count = min(threads, max(1, max_batch // _PICTURES_PER_LANE))
        self._pool = ThreadPoolExecutor(
            self.count, "lane", initializer=set_threads, initargs=(threads // self.count,)
        )
        here = Barrier(self.count)  # so that each thread is started, and none twice as busy
        wait([self._pool.submit(here.wait) for _ in range(self.count)])
        set_threads(threads)

    def run(self, work: Run, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give `work` of the batch, rows in order.

        Fewer pictures than lanes go through the calling thread, which has all the threads for
        itself: alone, a picture is done sooner so.
        """
        if self.count == 1 or len(batch) < self.count:
            return work(batch)
        parts = [self._pool.submit(work, part) for part in np.array_split(batch, self.count)]
        wait(parts)  # all, also after an error: a smaller batch is tried next, and needs the room
        return np.concatenate([part.result() for part in parts])
