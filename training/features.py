"""Features of the frozen picture tower: every picture in several views, kept on disk."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.vision.engines.hardware import has_native_bf16
from core.vision.engines.norm_folding import fold_norms
from training.augment import random_view, reduced
from training.copies import thumbnails
from training.drawn import drawn_view
from training.network import IMAGE_SIZE, normalise
from training.pictures import LabelledPicture, Pixels, read_images, view_of
from training.tower import find_weights, pretrained

CHUNK = 256  # pictures per task of a process
BATCH = 32  # per forward pass

Features = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ViewTask:
    """Some pictures in one view. View 0 is the run time's, the others are random."""

    folder: Path
    pictures: tuple[LabelledPicture, ...]
    places: tuple[int, ...]  # of these pictures among all
    view: int
    seed: int


@dataclass(frozen=True, slots=True)
class ViewFeatures:
    """Features of some pictures, and thumbnails by which copies are found.

    features: float16, (n, width). small: uint8, (n, grid, grid, 3).
    """

    features: Features
    small: Pixels


class FrozenTower:
    """The picture tower, as fast as this processor runs it; one thread."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        trunk = pretrained(find_weights()).trunk
        fold_norms(trunk, torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
        self._dtype = torch.bfloat16 if has_native_bf16() else torch.float32
        self._trunk: nn.Module = trunk.to(dtype=self._dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, views: Pixels) -> Features:
        """Return the features of views: uint8 (n, size, size, 3) -> float16 (n, width)."""
        parts = []
        for start in range(0, len(views), BATCH):
            pixels = normalise(torch.from_numpy(views[start : start + BATCH]).permute(0, 3, 1, 2))
            parts.append(self._trunk(pixels.to(self._dtype)).half())
        result: Features = torch.cat(parts).numpy()
        return result


_towers: list[FrozenTower] = []  # of a worker process


def _start_worker() -> None:
    _towers.append(FrozenTower())


def _work(task: ViewTask) -> ViewFeatures:
    views = np.stack([*_views(task)])
    return ViewFeatures(_towers[0].features(views), np.asarray(thumbnails(views), np.uint8))


def _views(task: ViewTask) -> Iterator[Pixels]:
    images = read_images(task.folder, task.pictures)
    for place, image in zip(task.places, images, strict=True):
        if task.view == 0:
            yield view_of(image, IMAGE_SIZE)
        else:  # of the picture, not of the process: the result is the same on any number of cores
            draw = np.random.default_rng([task.seed, task.view, place])
            yield random_view(image, IMAGE_SIZE, draw)


@dataclass(frozen=True, slots=True)
class FeaturePass:
    """Computes the features of pictures, view by view.

    folder, pictures: of the training pictures; all of them.
    seed: of the random views.
    work: a finished view is kept here, and taken from here after an interruption.
    """

    folder: Path
    pictures: Sequence[LabelledPicture]
    seed: int
    work: Path

    def view(
        self, view: int, places: Sequence[int], on_pictures: Callable[[int], Any]
    ) -> ViewFeatures:
        """Return the features of the pictures at some places, in one view.

        `on_pictures` is called with the number of pictures that were done.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.work / f"view-{self.seed}-{view}.npz"
        if not path.exists():
            parts = []
            with ProcessPoolExecutor(os.cpu_count(), initializer=_start_worker) as pool:
                for part in pool.map(_work, self._tasks(view, places)):
                    parts.append(part)
                    on_pictures(len(part.features))
            _keep(path, parts)
        kept = np.load(path)
        return ViewFeatures(kept["features"], kept["small"])

    def detail(self, plain: Features, places: Sequence[int]) -> Floats:
        """Return what detail beyond LEAST_DETAIL adds to features, in the mean: float32, (width,).

        Args:
            plain: features of all pictures in the run time's view.
            places: of some pictures that have more detail.
        """
        path = self.work / f"detail-{self.seed}.npy"
        if not path.exists():
            images = read_images(self.folder, [self.pictures[place] for place in places])
            views = np.stack([view_of(reduced(image), IMAGE_SIZE) for image in images])
            without = FrozenTower().features(views).astype(np.float32).mean(axis=0)
            np.save(path, plain[places].astype(np.float32).mean(axis=0) - without)
        kept: Floats = np.load(path)
        return kept

    def drawn(self, count: int) -> Features:
        """Return the features of so many surfaces drawn by the program: float16, (count, width)."""
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.work / f"drawn-{self.seed}-{count}.npy"
        if not path.exists():
            draws = (np.random.default_rng([self.seed, place]) for place in range(count))
            views = np.stack([drawn_view(IMAGE_SIZE, draw) for draw in draws])
            np.save(path, FrozenTower().features(views))
        kept: Features = np.load(path)
        return kept

    def _tasks(self, view: int, places: Sequence[int]) -> Iterator[ViewTask]:
        for first in range(0, len(places), CHUNK):
            chosen = tuple(places[first : first + CHUNK])
            pictures = tuple(self.pictures[place] for place in chosen)
            yield ViewTask(self.folder, pictures, chosen, view, self.seed)


def _keep(path: Path, parts: Sequence[ViewFeatures]) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        features=np.concatenate([one.features for one in parts]),
        small=np.concatenate([one.small for one in parts]),
    )
    part.replace(path)
