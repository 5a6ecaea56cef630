"""Tagging against the naive loop, the plain batched loop and the bare model, side by side.

    python -m benchmarks.tagging [--quick] [--model ViT-B-32-quickgelu] [--repetitions 5]
                                 [--sizes 1.2=64,12=16] [--peers FOLDER]

All lines of a run have the same files, the same random weights and the same cores, and take turns.
`--quick` takes few files of 0.3 and 1.2 megapixels and one repetition. clip-retrieval and infinity
pin older packages and run in environments of their own below FOLDER, installed when missing.
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

from benchmarks.harness.ceilings import Decoding, broker_rate, database_rate
from benchmarks.harness.pictures import make_photos
from benchmarks.harness.report import goal, print_machine
from benchmarks.harness.tagging_archive import TaggingArchive, open_archives
from benchmarks.harness.tagging_lines import Embeddings, Peer, cosines, ours, save_weights
from benchmarks.harness.tagging_peers import REQUIREMENTS, PeerAway, PeerProcess, open_peer
from core.errors import ConfigurationError
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DecodeSettings, TaggingSettings
from core.vision.decoding.decoder import DecodePool, pool_limits
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.opening import open_taggers
from core.vision.tagger import ClipTagger

MAX_IMAGE_BYTES = 64 * 1024 * 1024
NAIVE, BATCHED, BARE = "naive loop", "plain batches", "bare model"
OURS, EXACT = "ours, no services", "ours, exact"
AUTO, INT8 = "ours, engine auto", "ours, int8"
CORRUPT = "ours, 1 in 100 corrupt"
CORRUPT_EVERY = 100
ARCHIVE, ARCHIVE_INT8 = "ours, Kafka to PostgreSQL", "the same, int8"
DECODING = "ceiling: decoding"
PEERS = Path("~/.cache/photo-archive/peers").expanduser()
STREAM_SHARE = 1 / 3  # share of the photos given to the lines that take a list


@dataclass(slots=True)
class Line:
    """The time of one way of tagging per photo, for each repetition."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Way:
    """A way of tagging, and the processes whose CPU time counts.

    Attributes:
        share: the share of the photos that it gets. Ways that read from a stream get all of them,
            since their first batches are small.
    """

    name: str
    run: Callable[[Sequence[Path]], Awaitable[Embeddings | float]]
    processes: tuple[psutil.Process, ...]
    share: float = STREAM_SHARE


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds used so far."""
    total = 0.0
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            # user and system time, and that of ended children (clip-retrieval, PostgreSQL)
            total += sum(each.cpu_times()[:4])
    return total


async def measure(
    ways: Sequence[Way], files: Sequence[Path], repetitions: int
) -> tuple[dict[str, Line], dict[str, Embeddings]]:
    """Run all ways once per repetition, beginning with another one each time."""
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
            if isinstance(result, float):  # measured by the way itself, without set-up and clean-up
                wall = result
            else:
                found[way.name] = result
            lines[way.name].wall_s.append(wall / len(chosen))
    return lines, found


def make_ways(
    peer: Peer,
    taggers: Mapping[str, ClipTagger],
    decoding: Decoding,
    pipeline: tuple[psutil.Process, ...],
) -> list[Way]:
    """Return the lines that need no services; `pipeline` are the processes of ours."""
    me = psutil.Process()

    async def apart(run: Callable[[], Embeddings]) -> Embeddings:
        return await asyncio.to_thread(run)

    return [
        Way(NAIVE, lambda files: apart(lambda: peer.one_by_one(files)), (me,)),
        Way(BATCHED, lambda files: apart(lambda: peer.batched(files)), (me,)),
        Way(BARE, lambda files: apart(lambda: peer.bare(len(files))), (me,)),
        Way(DECODING, decoding.run, pipeline),
        *(Way(name, partial(ours, tagger), pipeline) for name, tagger in taggers.items()),
        Way(CORRUPT, partial(_some_corrupt, taggers[OURS]), pipeline),
    ]


async def _some_corrupt(tagger: ClipTagger, files: Sequence[Path]) -> Embeddings:
    places = range(min(CORRUPT_EVERY, len(files)) // 2, len(files), CORRUPT_EVERY)
    return await ours(tagger, files, corrupt=places)


def show(megapixels: float, count: int, lines: dict[str, Line]) -> None:
    """Print the table of one size."""
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
    """Print the lines of the goals that belong to this size."""
    wall = {name: median(line.wall_s) for name, line in lines.items()}
    if megapixels == 1.2:
        goal("end to end of bare, 1.2 MP", wall[BARE] / wall[ARCHIVE], 0.85, unit="", at_most=False)
        if ARCHIVE_INT8 in wall:
            faster = wall[ARCHIVE] / wall[ARCHIVE_INT8]
            goal("int8 end to end, of our fp32", faster, 1.6, unit="x", at_most=False)
    if megapixels == 12:
        per_core = median(lines[NAIVE].cpu_s) / median(lines[ARCHIVE].cpu_s)
        goal("12 MP per core, of naive", per_core, 2.3, unit="x", at_most=False)
    others = {name: found[name] for name in (NAIVE, *REQUIREMENTS) if name in found}
    for name, rows in others.items():
        worst = float(cosines(found[EXACT], rows[: len(found[EXACT])]).min())  # peers got more
        goal(f"exact, cosine to {name}, {megapixels:g} MP", worst, 0.9999, unit="", at_most=False)
    for name in (name for name in (OURS, AUTO, INT8) if name in found):
        least = float(cosines(found[name], found[NAIVE]).min())
        print(f"{name}, least cosine to the naive loop: {least:.5f} (random weights)")
    others_least = float(np.nanmin(cosines(found[CORRUPT], found[OURS])))
    goal("beside a corrupt one, cosine to before", others_least, 0.9999, unit="", at_most=False)
    if len(found[CORRUPT]) > CORRUPT_EVERY * 0.9:  # with fewer, one exceeds the goal's share
        goal("1 in 100 corrupt, time", wall[CORRUPT] / wall[OURS], 1.05, unit="x", at_most=True)
    if INT8 not in found:
        return
    least = float(cosines(found[INT8], found[OURS]).min())
    goal(f"int8, cosine to our fp32, {megapixels:g} MP", least, 0.999, unit="", at_most=False)


async def run(folder: Path, plan: dict[float, int], options: argparse.Namespace) -> None:
    """Measure all sizes."""
    weights = save_weights(options.model, folder)
    photos = {size: make_photos(folder, size, count) for size, count in plan.items()}
    base = TaggingSettings(
        model=options.model, pretrained=str(weights), engine="torch", precision="fp32"
    )
    with ExitStack() as stack:
        async with AsyncExitStack() as opened:
            taggers = await _open_taggerss(opened, base)
            form = Decoding(await _open_decoders(opened))
            mine = (psutil.Process(), *_children())
            peers = _open_peers(stack, options, weights)
            before = _children()
            archives = stack.enter_context(open_archives(folder, _engines(base, taggers)))
            warm = next(iter(photos.values()))[:8]
            for archive in archives.values():
                await archive.tag(warm)  # when this returns its process has loaded its model
            services = tuple(_children() - before)
            ways = [
                *make_ways(Peer.load(options.model, weights), taggers, form, mine),
                # all photos, since clip-retrieval starts new reader processes for each list
                *(Way(name, it.encode, (it.measured,), share=1.0) for name, it in peers.items()),
                *(Way(name, it.tag, services, share=1.0) for name, it in archives.items()),
            ]
            await measure(ways, warm, 1)
            for size, files in photos.items():
                lines, found = await measure(ways, files, options.repetitions)
                show(size, len(files), lines)
                judge(size, lines, found)
            await _print_ceilings(archives[ARCHIVE])


async def _open_taggerss(opened: AsyncExitStack, base: TaggingSettings) -> dict[str, ClipTagger]:
    chosen = {
        OURS: base,
        EXACT: base.model_copy(update={"preprocess": "exact"}),
        AUTO: base.model_copy(update={"engine": "auto", "precision": "auto"}),
        INT8: base.model_copy(update={"engine": "onnx-int8"}),
    }
    taggers = {}
    for name, settings in chosen.items():
        try:
            both = await opened.enter_async_context(
                open_taggers(settings, DecodeSettings(), max_image_bytes=MAX_IMAGE_BYTES)
            )
        except ConfigurationError as reason:  # the accuracy gate refused int8
            print(f"{name}: not measured: {reason}")
        else:
            taggers[name] = both.ordinary
            await taggers[name].use_labels(DEFAULT_LABELS, 1)
    return taggers


async def _open_decoders(opened: AsyncExitStack) -> DecodePool:
    limits = pool_limits(DecodeSettings(), MAX_IMAGE_BYTES)
    return await opened.enter_async_context(DecodePool(limits, PixelFormat(fast=True)))


def _open_peers(
    stack: ExitStack, options: argparse.Namespace, weights: Path
) -> dict[str, PeerProcess]:
    """Start the peers that can run here; print why the others cannot."""
    peers = {}
    for name in REQUIREMENTS:
        try:
            peers[name] = stack.enter_context(
                open_peer(
                    name,
                    options.peers or PEERS,
                    options.model,
                    weights,
                    may_install=options.peers is not None,
                )
            )
        except PeerAway as reason:
            print(f"{name}: not measured: {reason}")
    return peers


def _engines(base: TaggingSettings, taggers: Mapping[str, ClipTagger]) -> dict[str, dict[str, str]]:
    """Return the settings of a tagging process for each engine that the model supports."""
    both = {
        "TAGGING_MODEL": base.model,
        "TAGGING_PRETRAINED": base.pretrained,
        "TAGGING_PRECISION": "fp32",
    }
    engines = {ARCHIVE: "torch", ARCHIVE_INT8: "onnx-int8"}
    if INT8 not in taggers:
        del engines[ARCHIVE_INT8]
    return {name: {**both, "TAGGING_ENGINE": engine} for name, engine in engines.items()}


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def _print_ceilings(archive: TaggingArchive) -> None:
    database = await database_rate(archive.database_url)
    print(f"ceiling: database, tagging transactions of 64: {database:,.0f} images/s")
    broker = await broker_rate(archive.bootstrap)
    print(f"ceiling: broker, an event in and an event out: {broker:,.0f} images/s")


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few photos, one repetition")
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--repetitions", type=int, default=0)
    parser.add_argument("--sizes", default="", help="photos per size, as 0.3=64,1.2=64,12=24")
    parser.add_argument("--peers", type=Path, help="environments of the peers; made if missing")
    options = parser.parse_args()
    print_machine()
    print(f"{options.model}, random weights, fp32, {torch.get_num_threads()} torch threads")
    plan = {0.3: 12, 1.2: 24} if options.quick else {0.3: 288, 1.2: 288, 12.0: 96}
    if options.sizes:
        pairs = (pair.partition("=") for pair in options.sizes.split(","))
        plan = {float(size): int(count) for size, _, count in pairs}
    options.repetitions = options.repetitions or (1 if options.quick else 5)
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    try:
        asyncio.run(run(folder, plan, options))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
