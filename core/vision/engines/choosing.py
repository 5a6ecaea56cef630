"""Choose the engine of the model: the one in the settings, or the fastest of those allowed.

torch       fp32, bf16 where the processor has units for it; fp16 or bf16 on CUDA
onnx-int8   ONNX Runtime on the CPU; its gate refuses models that lose accuracy
auto        measured at the start; onnx-int8 only where TAGGING_ALLOW_INT8 says so
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from core.errors import ConfigurationError
from core.settings import TaggingSettings
from core.vision.engines import probe
from core.vision.engines.hardware import choose_device, has_native_bf16
from core.vision.ports import Towers
from core.vision.towers import TorchTowers

if TYPE_CHECKING:
    from core.vision.engines.onnx_towers import OnnxTowers

#: Of the start of a process. Three engines of ViT-B-32 take one round and more on two cores.
PROBE_BUDGET_S = 3.0
#: Another identity must be much faster: archives do not mix them, so changing the choice from one
#: start to the next costs more than a few per cent of speed.
MARGINS = {"onnx-int8": 1.2, "torch-bf16": 1.05}
_BATCH = 8  # enough to compare engines; more takes seconds per round with a large model

log = structlog.get_logger(__name__)


def open_towers(settings: TaggingSettings, clock: probe.Clock = time.perf_counter) -> Towers:
    """Load the model on the engine that the settings ask for. Blocks, for seconds.

    Raises:
        ConfigurationError: the model cannot be loaded, or does not run on that engine.
    """
    if settings.engine == "onnx-int8":
        only = _int8(_full_precision(settings), settings)
        only.settle()
        return only
    if settings.engine == "torch" or choose_device(settings.device) != "cpu":
        return TorchTowers(settings)
    return _quickest(settings, clock)


def precisions(wanted: str, *, native_bf16: bool) -> tuple[str, ...]:
    """Return the precisions of torch that `auto` measures on a CPU, the safest first."""
    if wanted != "auto":
        return (wanted,)
    return ("fp32", "bf16") if native_bf16 else ("fp32",)


def _quickest(settings: TaggingSettings, clock: probe.Clock) -> Towers:
    first, *others = precisions(settings.precision, native_bf16=has_native_bf16())
    full = TorchTowers(settings.model_copy(update={"precision": first}))
    engines: dict[str, Towers] = {f"torch-{first}": full}
    for precision in others:
        engines[f"torch-{precision}"] = full.in_precision(precision)
    int8 = _int8_if_borne(full, settings) if settings.allow_int8 and first == "fp32" else None
    if int8 is not None:
        engines["onnx-int8"] = int8
    if len(engines) == 1:
        return full
    chosen = engines[_measured(engines, clock)]
    if chosen is int8:
        int8.settle()
    return chosen


def _measured(engines: "dict[str, Towers]", clock: probe.Clock) -> str:
    """Return the name of the fastest, and log the figures."""
    form = next(iter(engines.values())).pixel_format(fast=False)
    chance = np.random.default_rng(1)  # noise, since the content does not affect the time
    pictures = chance.integers(0, 256, (_BATCH, form.height, form.width, 3), np.uint8)
    began = clock()
    rates = probe.measure(
        {name: towers.encode_pixels for name, towers in engines.items()},
        pictures,
        budget_s=PROBE_BUDGET_S,
        clock=clock,
    )
    name = probe.fastest(rates, MARGINS)
    log.info(
        "engine_chosen",
        engine=name,
        images_per_s={each: round(rate, 1) for each, rate in rates.items()},
        margins=MARGINS,
        took_s=round(clock() - began, 2),
    )
    return name


def _full_precision(settings: TaggingSettings) -> TorchTowers:
    """Load the model as int8 needs it.

    Raises:
        ConfigurationError: another device or precision is asked for as well.
    """
    asked: Sequence[tuple[str, str, str]] = (
        ("TAGGING_DEVICE", settings.device, "cpu"),
        ("TAGGING_PRECISION", settings.precision, "fp32"),
    )
    for variable, value, needed in asked:
        if value not in {"auto", needed}:
            raise ConfigurationError(
                f"{variable}={value}: TAGGING_ENGINE=onnx-int8 runs on the CPU, from fp32"
            )
    return TorchTowers(settings.model_copy(update={"device": "cpu", "precision": "fp32"}))


def _int8_if_borne(full: TorchTowers, settings: TaggingSettings) -> "OnnxTowers | None":
    try:
        return _int8(full, settings)
    except ConfigurationError as error:
        log.warning("engine_refused", engine="onnx-int8", reason=str(error))
        return None


def _int8(full: TorchTowers, settings: TaggingSettings) -> "OnnxTowers":
    # here: a process on torch alone need not load them
    from core.vision.engines.onnx_towers import OnnxTowers
    from core.vision.engines.quantising import quantised

    return OnnxTowers(full, quantised(full, settings.engine_cache).graph)
