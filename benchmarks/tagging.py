"""Tagging against the naive loop, the plain batched loop and the bare model, side by side.

    python -m benchmarks.tagging [--quick] [--model ViT-B-32-quickgelu] [--repetitions 5]

One run: the same files, the same random weights, the same cores; the lines take turns. `--quick`
takes few files, 0.3 and 1.2 megapixels and one repetition. clip-retrieval and infinity are not
among the lines: both pin an older numpy and want an environment of their own (their figures on
comparable cores, as ratios, stand in docs/benchmarks.md).
"""

import argparse
import asyncio
import math
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.pictures import make_photos
from benchmarks.report import goal, print_machine
from benchmarks.tagging_archive import TaggingArchive, open_archive
from benchmarks.tagging_lines import Embeddings, Peer, ours, save_weights
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import TaggingSettings
from core.vision.opening import open_tagger
from core.vision.tagger import ClipTagger

MAX_IMAGE_BYTES = 64 * 1024 * 1024
NAIVE, BATCHED, BARE = "naive loop", "plain batches", "bare model"
OURS, EXACT, AUTO = "ours, no services", "ours, exact", "ours, precision auto"
ARCHIVE = "ours, Kafka to PostgreSQL"
STREAM_SHARE = 1 / 3  # of the photos, for the lines that get them as a list


@dataclass(slots=True)
class Line:
    """What one way of tagging took per photo, per repetition."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Way:
    """A way of tagging and the processes whose time counts.

    Attributes:
        share: of the photos, so many; the first batches of a stream are small, whole lists are not.
    """

    name: str
    run: Callable[[Sequence[Path]], Awaitable[Embeddings | float]]
    processes: tuple[psutil.Process, ...]
    share: float = STREAM_SHARE


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """Processor seconds so far; processes that ended meanwhile (PostgreSQL's) count no more."""
    total = 0.0
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(each.cpu_times()[:2])
    return total


async def measure(
    ways: Sequence[Way], files: Sequence[Path], repetitions: int
) -> tuple[dict[str, Line], dict[str, Embeddings]]:
    """Let the ways take turns, each time from another one on."""
    lines = {way.name: Line() for way in ways}
    found: dict[str, Embeddings] = {}
    for repetition in range(repetitions):
        shift = repetition % len(ways)
        for way in (*ways[shift:], *ways[:shift]):
            chosen = files[: math.ceil(len(files) * way.share)]
            cpu, began = cpu_of(way.processes), time.monotonic()
            result = await way.run(chosen)
            wall = time.monotonic() - began
            lines[way.name].cpu_s.append((cpu_of(way.processes) - cpu) / len(chosen))
            if isinstance(result, float):  # told by itself: without connecting and forgetting
                wall = result
            else:
                found[way.name] = result
            lines[way.name].wall_s.append(wall / len(chosen))
    return lines, found


def make_ways(
    peer: Peer, taggers: Mapping[str, ClipTagger], archive: TaggingArchive, services: set[int]
) -> list[Way]:
    """All lines; `services` are the archive's processes."""
    me = psutil.Process()
    mine = (me, *(child for child in me.children(recursive=True) if child.pid not in services))
    theirs = tuple(psutil.Process(pid) for pid in services)

    async def apart(run: Callable[[], Embeddings]) -> Embeddings:
        return await asyncio.to_thread(run)

    return [
        Way(NAIVE, lambda files: apart(lambda: peer.one_by_one(files)), (me,)),
        Way(BATCHED, lambda files: apart(lambda: peer.batched(files)), (me,)),
        Way(BARE, lambda files: apart(lambda: peer.bare(len(files))), (me,)),
        *(Way(name, partial(ours, tagger), mine) for name, tagger in taggers.items()),
        Way(ARCHIVE, archive.tag, theirs, share=1.0),
    ]


def show(megapixels: float, count: int, lines: dict[str, Line]) -> None:
    """Print one size's table."""
    bare = median(lines[BARE].wall_s)
    table = Table(title=f"{megapixels:g} megapixels, {count} photos, median of {_runs(lines)}")
    for column in ("line", "images/s", "min to max", "CPU ms/image", "of the bare model"):
        table.add_column(column, justify="left" if column == "line" else "right")
    for name, line in lines.items():
        wall = median(line.wall_s)
        table.add_row(
            name,
            f"{1 / wall:.1f}",
            f"{1 / max(line.wall_s):.1f} to {1 / min(line.wall_s):.1f}",
            f"{1000 * median(line.cpu_s):.0f}",
            f"{bare / wall:.2f}",
        )
    Console(width=100).print(table)


def _runs(lines: dict[str, Line]) -> int:
    return len(lines[BARE].wall_s)


def judge(megapixels: float, lines: dict[str, Line], found: dict[str, Embeddings]) -> None:
    """Print the goal lines that this size has."""
    wall = {name: median(line.wall_s) for name, line in lines.items()}
    if megapixels == 1.2:
        goal("end to end of bare, 1.2 MP", wall[BARE] / wall[ARCHIVE], 0.85, unit="", at_most=False)
    if megapixels == 12:
        per_core = median(lines[NAIVE].cpu_s) / median(lines[ARCHIVE].cpu_s)
        goal("12 MP per core, of naive", per_core, 2.3, unit="x", at_most=False)
    worst = cosines(found[EXACT], found[NAIVE]).min()
    goal(f"exact cosine, {megapixels:g} MP", float(worst), 0.9999, unit="", at_most=False)
    for name in (OURS, AUTO):
        least = float(cosines(found[name], found[NAIVE]).min())
        print(f"{name}, least cosine to the naive loop: {least:.5f} (random weights)")


def cosines(one: Embeddings, other: Embeddings) -> Embeddings:
    """Cosine per row."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths  # type: ignore[no-any-return]  # numpy's Any


async def run(folder: Path, plan: dict[float, int], model: str, repetitions: int) -> None:
    """Measure all sizes."""
    weights = save_weights(model, folder)
    photos = {size: make_photos(folder, size, count) for size, count in plan.items()}
    environment = {
        "TAGGING_MODEL": model,
        "TAGGING_PRETRAINED": str(weights),
        "TAGGING_PRECISION": "fp32",
    }
    with ExitStack() as stack:
        archive = stack.enter_context(open_archive(folder, environment))
        warm = next(iter(photos.values()))[:8]
        await archive.tag(warm)  # the role has loaded its model when this is back
        services = {child.pid for child in psutil.Process().children(recursive=True)}
        peer = Peer.load(model, weights)
        base = TaggingSettings(model=model, pretrained=str(weights), precision="fp32")
        chosen = {
            OURS: base,
            EXACT: base.model_copy(update={"preprocess": "exact"}),
            AUTO: base.model_copy(update={"precision": "auto"}),
        }
        async with AsyncExitStack() as opened:
            taggers = {}
            for name, settings in chosen.items():
                taggers[name] = await opened.enter_async_context(
                    open_tagger(settings, max_image_bytes=MAX_IMAGE_BYTES)
                )
                await taggers[name].use_labels(DEFAULT_LABELS, 1)
            ways = make_ways(peer, taggers, archive, services)
            await measure(ways, warm, 1)
            for size, files in photos.items():
                lines, found = await measure(ways, files, repetitions)
                show(size, len(files), lines)
                judge(size, lines, found)


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--repetitions", type=int, default=0)
    parser.add_argument("--sizes", default="", help="photos per size, as 0.3=64,1.2=64,12=24")
    options = parser.parse_args()
    print_machine()
    print(f"{options.model}, random weights, fp32, {torch.get_num_threads()} torch threads")
    plan = {0.3: 12, 1.2: 24} if options.quick else {0.3: 288, 1.2: 288, 12.0: 96}
    if options.sizes:
        pairs = (pair.partition("=") for pair in options.sizes.split(","))
        plan = {float(size): int(count) for size, _, count in pairs}
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    try:
        repetitions = options.repetitions or (1 if options.quick else 5)
        asyncio.run(run(folder, plan, options.model, repetitions))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
