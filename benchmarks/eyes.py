"""The bundled model's picture tower beside the former one, and what int8 makes of it.

    python -m benchmarks.eyes [--former FOLDER] [--quick]

CPU time of a JPEG of 1.2 megapixels, decoding and thumbnail included, on one thread; both towers
take turns. The former tower (ResNet-10-T at 96 pixels, docs/decisions/0006-demo-model.md) has
random weights, on which its time does not depend, unless `--former` names a folder with it. Last
comes the gate before int8: whether its graph agrees with fp32, and how fast it is.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import open_clip
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmarks.harness.pictures import make_photos
from benchmarks.harness.report import goal, print_machine
from core.errors import ConfigurationError
from core.settings import TaggingSettings
from core.vision.decoding.pixels import DecodedPicture, decode, prepare_libraries
from core.vision.decoding.sniff import Limits
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.engines.agreement import MIN_COSINE, MIN_SAME_BEST
from core.vision.engines.onnx_towers import OnnxTowers
from core.vision.engines.quantising import quantised
from core.vision.ports import Towers
from core.vision.towers import TorchTowers

PHOTOS = 32
ROUNDS = 9
BATCH = 32  # of the model: TAGGING_BATCH_MAX_IMAGES, unless it is set
BOUNDS = {"fp32": 1.5, "bf16": 1.2}
FORMER = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": 96,
            "timm_model_name": "resnet10t",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    },
    "preprocess_cfg": {"size": 96, "interpolation": "bicubic", "resize_mode": "shortest"},
}


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of CPU per photo."""

    decoding: float
    model: float

    @property
    def total(self) -> float:
        """Return the seconds of both."""
        return self.decoding + self.model


def write_former(folder: Path) -> str:
    """Write the former tower with random weights; return its name for the settings."""
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(FORMER))
    model = open_clip.create_model(f"local-dir:{folder}")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def settings(model: str, precision: str) -> TaggingSettings:
    """Return the settings of a model on one thread of the CPU."""
    return TaggingSettings.model_validate(
        {"model": model, "precision": precision, "torch_threads": 1, "device": "cpu"}
    )


def tag(towers: Towers, files: Sequence[bytes], limits: Limits) -> CpuTime:
    """Return the CPU time of decoding and encoding these files."""
    form = towers.pixel_format(fast=settings("demo", "fp32").preprocess == "fast")
    began = time.process_time()
    pixels = np.stack([_square(decode(data, form, limits), form) for data in files])
    decoded = time.process_time()
    for at in range(0, len(pixels), BATCH):
        towers.encode_pixels(pixels[at : at + BATCH])
    ended = time.process_time()
    return CpuTime((decoded - began) / len(files), (ended - decoded) / len(files))


def _square(decoded: DecodedPicture, form: PixelFormat) -> NDArray[np.uint8]:
    return np.frombuffer(decoded.pixels, np.uint8).reshape(form.height, form.width, 3)


def measure(
    towers: Mapping[str, Towers], files: Sequence[bytes], rounds: int
) -> dict[str, list[CpuTime]]:
    """Return the CPU times of all towers, in turns; the first round warms up and is left out."""
    limits = Limits()
    prepare_libraries(limits)
    found: dict[str, list[CpuTime]] = {name: [] for name in towers}
    for turn in range(rounds + 1):
        for name, own in towers.items():
            took = tag(own, files, limits)
            if turn:
                found[name].append(took)
    return found


def show(found: Mapping[str, Sequence[CpuTime]]) -> None:
    """Print the table of CPU milliseconds per photo."""
    table = Table(title=f"CPU ms per photo of 1.2 MP, median of {len(next(iter(found.values())))}")
    for column in ("tower", "decoding", "model", "both", "least to most"):
        table.add_column(column, justify="left" if column == "tower" else "right")
    for name, times in found.items():
        totals = [1000 * one.total for one in times]
        table.add_row(
            name,
            f"{1000 * median(one.decoding for one in times):.2f}",
            f"{1000 * median(one.model for one in times):.2f}",
            f"{median(totals):.2f}",
            f"{min(totals):.2f} to {max(totals):.2f}",
        )
    Console(width=100).print(table)


def int8_of(full: TorchTowers, cache: Path) -> OnnxTowers | None:
    """Return the model on int8, and print its gate's figures; None where the gate refuses it."""
    try:
        made = quantised(full, cache)
    except ConfigurationError as error:
        print(f"int8: {error}")
        return None
    figures = made.agreement
    least, same = figures.least_cosine, figures.same_best
    print(
        f"int8's gate: {figures.pictures} pictures, least cosine {least:.5f}, best label {same:.1%}"
    )
    goal("int8, least cosine", least, MIN_COSINE, unit="", at_most=False)
    goal("int8, same best label", same, MIN_SAME_BEST, unit="", at_most=False)
    return OnnxTowers(full, made.graph)


def run(former: str, folder: Path, rounds: int) -> None:
    """Measure and print."""
    files = [path.read_bytes() for path in make_photos(folder, 1.2, PHOTOS)]
    towers: dict[str, Towers] = {}
    for precision in BOUNDS:
        towers[f"former, {precision}"] = TorchTowers(settings(former, precision))
        towers[f"bundled, {precision}"] = TorchTowers(settings("demo", precision))
    int8 = int8_of(TorchTowers(settings("demo", "fp32")), folder / "engines")
    if int8 is not None:
        towers["bundled, int8"] = int8
    found = measure(towers, files, rounds)
    show(found)
    totals = {name: median(one.total for one in times) for name, times in found.items()}
    for precision, bound in BOUNDS.items():
        ratio = totals[f"bundled, {precision}"] / totals[f"former, {precision}"]
        goal(
            f"CPU per photo ÷ the former tower's, {precision}", ratio, bound, unit="x", at_most=True
        )


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--former", type=Path, help="folder of the former model")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    options = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="photo-archive-bench-") as name:
        folder = Path(name)
        former = f"local-dir:{options.former}" if options.former else write_former(folder / "old")
        rounds = 3 if options.quick else ROUNDS
        run(former, folder, rounds)


if __name__ == "__main__":
    main()
