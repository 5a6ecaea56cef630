"""Make an int8 graph for ONNX Runtime of a torch image tower: export, quantise, check.

The only module that makes graphs; `onnx_towers` runs them. ONNX, its quantiser and the exporter
are imported lazily: only a process that makes a graph pays for them.
"""

import hashlib
import json
import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from core.errors import ConfigurationError
from core.vision.engines import agreement
from core.vision.engines.agreement import Agreement
from core.vision.engines.engine_cache import EngineCache, Quantised
from core.vision.engines.gate_pictures import PROMPTS, gate_pictures
from core.vision.engines.hardware import cpu_flags
from core.vision.engines.onnx_towers import INPUT, RECIPE, GraphRunner
from core.vision.towers import TorchTowers

_OPSET = 20
_REFERENCE_BATCH = 8  # more is hardly quicker on a CPU (docs/research/clip.md, section 4)

log = structlog.get_logger(__name__)


def quantised(towers: TorchTowers, folder: Path) -> Quantised:
    """Return the int8 graph of a model, made now or at an earlier start.

    Args:
        towers: the model, in fp32 on the CPU.
        folder: where graphs are kept.

    Raises:
        ConfigurationError: it cannot be made, kept, or its vectors are too far from fp32's.
    """
    cache, key = EngineCache(folder), cache_key(towers)
    found = cache.find(key)
    if found is None:
        log.info("engine_quantising", model=towers.identity, folder=str(folder))
        with _translated(towers.identity, folder):
            found = cache.make(key, lambda graph, scratch: _build(towers, graph, scratch))
    figures = found.agreement
    log.info(
        "engine_judged",
        model=towers.identity,
        pictures=figures.pictures,
        least_cosine=round(figures.least_cosine, 6),
        same_best=round(figures.same_best, 4),
    )
    if figures.problem is not None:
        raise ConfigurationError(
            f"TAGGING_ENGINE=onnx-int8: {towers.identity} does not bear {RECIPE}: {figures.problem}"
        )
    return found


def cache_key(towers: TorchTowers) -> str:
    """Return a key of everything that a graph or its verdict depends on.

    The weights, the architecture (activations have no weights), the pixels and their
    normalisation, the recipe, the versions of what makes and runs the graph; and the processor:
    int8 kernels for one without VNNI instructions saturate at 16 bits, so a verdict from one
    machine must not stand for another that shares its home folder.
    """
    parts = (
        RECIPE,
        towers.identity,
        repr(towers.image_tower),
        repr(towers.pixel_format(fast=False)),
        repr(towers.normalisation),
        *(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime")),
        platform.machine(),
        *sorted(cpu_flags()),
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _build(towers: TorchTowers, graph: Path, scratch: Path) -> Agreement:
    full = scratch / "fp32.onnx"
    _export(towers, full)
    _quantise(full, graph)
    form = towers.pixel_format(fast=False)
    pictures = gate_pictures(form.height, form.width)
    reference = [
        towers.encode_pixels(pictures[at : at + _REFERENCE_BATCH])
        for at in range(0, len(pictures), _REFERENCE_BATCH)
    ]
    if not reference:
        return Agreement(0, float("nan"), 0.0)
    candidate = GraphRunner(graph, towers.threads).encode(pictures)
    return agreement.compare(np.concatenate(reference), candidate, towers.encode_texts(PROMPTS))


def _export(towers: TorchTowers, path: Path) -> None:
    """Write the image tower: uint8 (1, height, width, 3) -> float32 (1, dim), unit length.

    One picture a run, for good: shapes are then constants, and see `onnx_towers.GraphRunner`.
    """
    import torch

    form = towers.pixel_format(fast=False)
    example = torch.zeros((1, form.height, form.width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.onnx.export(
            _as_module(towers),
            (example,),
            path,
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=["embedding"],
            external_data=True,  # one file may not hold more than 2 GiB; ViT-H's weights are more
        )


def _as_module(towers: TorchTowers) -> Any:
    import torch

    class ImageTower(torch.nn.Module):  # here, since torch is imported lazily
        def __init__(self) -> None:
            super().__init__()
            self.tower = towers.image_tower  # so that the exporter finds the weights

        def forward(self, pixels: Any) -> Any:
            return towers.embed(pixels)

    return ImageTower().eval()


def _quantise(full: Path, graph: Path) -> None:
    """Turn weights of products with constants into int8, a scale per column; the rest stays fp32.

    Attention's own products (no constants), normalisation and the patch convolution stay. Of
    seven recipes tried this is the quickest that the gate passes (decisions/0013).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(full)
    # Shapes noted by the exporter are those from before it folded transpositions; the quantiser's
    # shape inference (onnx 1.23) takes the contradiction for a broken model.
    del model.graph.value_info[:]
    onnx.save(model, full, save_as_external_data=True, location=f"{full.name}.weights")
    del model
    quantize_dynamic(
        full,
        graph,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


@contextmanager
def _translated(identity: str, folder: Path) -> Iterator[None]:
    """Translate any error of exporter and quantiser into one clear message."""
    try:
        with warnings.catch_warnings(), _quiet("root", "torch", "onnxscript", "onnx_ir"):
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            yield
    except OSError as error:
        raise ConfigurationError(
            f"TAGGING_ENGINE_CACHE={folder}: cannot be written to: {error}"
        ) from error
    except Exception as error:  # three libraries without a common error
        raise ConfigurationError(
            f"TAGGING_ENGINE=onnx-int8: {identity} cannot be exported and quantised: "
            f"{type(error).__name__}: {error}"
        ) from error


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Suppress log lines that are meant for authors of models."""
    loggers: list[Any] = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
