"""Train the bundled demo model and write its folder.

    python -m training.demo_model --data ../shared/data/photos-train --out core/vision/demo_model

After an interruption the same command continues after the last finished epoch. `--begin` starts
from the weights in another model's folder instead of random ones, for more epochs on the same or on
other pictures. The result is the model's folder: configuration, weights, measurements, card.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.errors import ConfigurationError
from training.card import write_card
from training.copies import copy_pairs, group_names
from training.export import ModelQuality, read_model, write_metrics, write_model
from training.fit import Trainer, TrainingPlan, TrainingSet, bf16_is_faster
from training.loss import TextBank, Vocabulary, objective_of, targets_of, vocabulary_of
from training.measure import ModelOrigin, Trial, best_scale, epoch_report, measure
from training.network import IMAGE_SIZE, build, tokenizer
from training.pictures import (
    LabelledPicture,
    PixelStore,
    decode_all,
    demo_views,
    held_out,
    read_demo_index,
    read_index,
)

DEMO_FOLDER = "photos-demo"  # beside the training folder
CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    data: Path
    out: Path
    work: Path
    begin: Path | None
    epochs: int
    batch: int
    seed: int
    threads: int
    device: str
    precision: str


def parse(arguments: Sequence[str]) -> Options:
    """Return the options from the command line; end the process on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m training.demo_model", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos-train.csv")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    parser.add_argument("--work", type=Path, default=Path("var/demo_model"), help="checkpoints")
    parser.add_argument("--begin", type=Path, help="a model's folder to begin from")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    return Options(**vars(parser.parse_args(arguments)))


def device_of(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        ConfigurationError: CUDA is asked for and not available.
    """
    there = torch.cuda.is_available()
    if name.startswith("cuda") and not there:
        raise ConfigurationError(f"--device {name}: no CUDA device here")
    return torch.device(("cuda" if there else "cpu") if name == "auto" else name)


def training_rows(
    index: Sequence[LabelledPicture], store: PixelStore, demo: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the pictures to train on, and of the held-out ones.

    Copies of the full-size demo photos are in neither, so that the model never sees those photos.
    """
    pairs = copy_pairs(store.views, store.views)
    names = group_names([picture.source for picture in index], pairs)
    outside = held_out(names)
    seen = np.zeros(len(index), np.bool_)
    seen[[place for _, place in copy_pairs(demo, store.views)]] = True
    return np.flatnonzero(~outside & ~seen), np.flatnonzero(outside & ~seen)


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def decode(options: Options, index: Sequence[LabelledPicture], console: Console) -> PixelStore:
    """Return the pixels of all pictures; a progress bar is shown."""
    with _progress(console) as progress:
        task = progress.add_task("decode", total=len(index))
        return decode_all(
            options.data, index, size=IMAGE_SIZE, on_picture=lambda: progress.advance(task)
        )


def train(trainer: Trainer, pictures: TrainingSet, trial: Trial, work: Path) -> None:
    """Run the remaining epochs; write a checkpoint and print a line after each."""
    console = Console()
    checkpoint = work / CHECKPOINT_NAME
    if checkpoint.is_file():
        trainer.load(checkpoint)
        console.print(f"resumed after epoch {trainer.epoch}")
    while trainer.epoch < trainer.plan.epochs:
        start = time.monotonic()
        with _progress(console) as progress:
            steps = len(pictures.canvas) // trainer.plan.batch
            task = progress.add_task(f"epoch {trainer.epoch + 1}", total=steps)
            loss = trainer.run_epoch(pictures, partial(progress.advance, task))
        trainer.save(checkpoint)
        console.print(
            f"epoch {trainer.epoch}/{trainer.plan.epochs}: {time.monotonic() - start:.0f} s, "
            f"loss {loss:.3f}, {epoch_report(trainer.average, trial)}",
            soft_wrap=True,
        )


@dataclass(frozen=True, slots=True)
class Material:
    """The pictures of the data folder, decoded and split."""

    pictures: TrainingSet
    trial: Trial
    vocabulary: Vocabulary


def read_material(options: Options) -> Material:
    """Return the pictures, read, decoded and split."""
    console = Console()
    index = read_index(options.data)
    photos = read_demo_index(options.data.parent / DEMO_FOLDER)
    demo = demo_views(photos, IMAGE_SIZE)
    store = decode(options, index, console)
    rows, outside = training_rows(index, store, demo)
    console.print(f"{len(rows)} pictures to train on, {len(outside)} held out")
    vocabulary = vocabulary_of(index)
    labelled = [row for row in outside if index[row].labels]
    return Material(
        TrainingSet(
            torch.from_numpy(store.canvas[rows]),
            torch.from_numpy(store.sizes[rows]),
            targets_of([index[row] for row in rows], vocabulary),
        ),
        Trial(
            store.views[labelled],
            tuple(index[row].labels for row in labelled),
            photos,
            demo,
        ),
        vocabulary,
    )


def trainer_of(options: Options, material: Material) -> Trainer:
    """Return a trainer with an untrained model."""
    device = device_of(options.device)
    torch.manual_seed(options.seed)
    model = build() if options.begin is None else read_model(options.begin)
    bf16 = options.precision == "bf16" or (
        options.precision == "auto" and bf16_is_faster(model, device)
    )
    plan = TrainingPlan(options.epochs, options.batch, options.seed, device, bf16=bf16)
    bank = TextBank(material.vocabulary, tokenizer())
    return Trainer(model, plan, bank, objective_of(material.pictures.targets))


def export(options: Options, trainer: Trainer, material: Material) -> ModelQuality:
    """Write weights, measurements and card."""
    scale = best_scale(trainer.average, material.trial)
    write_model(options.out, trainer.average, scale)
    origin = ModelOrigin(
        trained_on=len(material.pictures.canvas),
        learned_scale=float(trainer.average.logit_scale.detach().exp()),
        settings={
            "epochs": str(trainer.epoch),
            "batch": str(options.batch),
            "seed": str(options.seed),
            "precision": "bf16" if trainer.plan.bf16 else "fp32",
            "device": trainer.plan.device.type,
        },
    )
    metrics = measure(options.out, material.trial, origin)
    write_metrics(options.out, metrics)
    write_card(options.out, metrics, options.data)
    return metrics


def run(options: Options) -> None:
    """Run all steps, from reading pictures to the written folder."""
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    material = read_material(options)
    trainer = trainer_of(options, material)
    train(trainer, material.pictures, material.trial, options.work)
    metrics = export(options, trainer, material)
    print(f"written to {options.out}: macro accuracy {metrics.macro_10:.3f}")


def main() -> int:
    """Train the model; return the exit code: 0 done, 2 a wrong option."""
    try:
        run(parse(sys.argv[1:]))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
