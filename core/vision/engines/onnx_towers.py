"""The image tower on ONNX Runtime, in int8; prompts stay with torch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.towers import CPU_BATCH, TorchTowers

#: How graphs are made, see `quantising`. Part of a model's identity: bump it with the recipe.
RECIPE = "int8.1"
INPUT = "pixels"


class GraphRunner:
    """Runs a graph that takes one picture at a time, on several threads.

    One at a time because int8's scales are found while it runs, from the largest value in a
    tensor: in a batch, a picture's vector would depend on its neighbours (cosine 0.9998 between
    alone and in a batch of 8, measured), and the same photo would get other tags tomorrow. It
    costs a tenth of the speed; whole pictures side by side scale better than threads within one.
    """

    def __init__(self, graph: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; warnings are advice on how to build graphs
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings: uint8 (n, height, width, 3) -> float32 (n, dim), unit length."""
        rows: list[NDArray[np.float32]] = list(self._pool.map(self._one, batch))
        return np.concatenate(rows)

    def _one(self, picture: NDArray[np.uint8]) -> Any:
        return self._session.run(None, {INPUT: picture[None]})[0]


class OnnxTowers:
    """A model whose image tower is an int8 graph.

    Its identity is not torch's: quantising changed the weights, so these are vectors of another
    model, and tags, near-duplicates and reuse must never mix them with fp32's.

    Args:
        towers: the model that the graph was made from, in fp32 on the CPU.
        graph: see `quantising.quantised`.
    """

    def __init__(self, towers: TorchTowers, graph: Path) -> None:
        self._towers = towers
        self._runner = GraphRunner(graph, towers.threads)
        self.identity = f"{towers.identity}+{RECIPE}"
        self.dim = towers.dim
        self.logit_scale = towers.logit_scale
        self.logit_bias = towers.logit_bias

    @property
    def small_batch(self) -> int:
        """Return the fewest pictures in a call with which it is about as fast as it can be.

        Threads take single pictures, so at the end of a call some have nothing left to do.
        """
        return max(CPU_BATCH, 4 * self._towers.threads)

    def pixel_format(self, *, fast: bool) -> PixelFormat:
        """Return the form of the pixels that `encode_pixels` takes."""
        return self._towers.pixel_format(fast=fast)

    def encode_pixels(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings: uint8 (n, height, width, 3) -> float32 (n, dim), unit length.

        A picture's row does not depend on the others in the batch.
        """
        return self._runner.encode(batch)

    def encode_texts(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return embeddings of prompts: float32 (n, dim), unit length."""
        return self._towers.encode_texts(prompts)

    def settle(self) -> None:
        """Free the memory of torch's image tower: nothing compares with it any more."""
        self._towers.drop_image_tower()

    def fall_back(self) -> bool:
        """Return False: it runs on the CPU already."""
        return False

    def release(self) -> None:
        """Do nothing: nothing is cached that could be given back."""
