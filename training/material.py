"""What a run works with: the pictures, split, and the photos that it must never train on."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from standalone.demo.photos import FREE_PHOTOS
from training.augment import LEAST_DETAIL
from training.copies import copy_pairs, group_names
from training.features import Features, Floats
from training.fit import TrainingSet
from training.measure import Trial, WholePhotos
from training.network import IMAGE_SIZE
from training.pictures import (
    LabelledPicture,
    Pixels,
    held_out,
    photo_views,
    read_demo_index,
    read_images,
    view_of,
)
from training.words.names import Kinds

PHOTOS_FOLDER = "photos-demo"  # beside the training folder; only measured on

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Places of the pictures to train on and of those held out, and how many are in neither."""

    training: Rows
    outside: Rows
    refused: int


@dataclass(frozen=True, slots=True)
class Material:
    """The pictures of the data folder, their split, and the features of those to train on.

    features: one array per view, (training pictures, width). drawn: of drawn surfaces.
    detail: what detail adds to features, in the mean.
    """

    index: tuple[LabelledPicture, ...]
    kinds: Kinds
    features: tuple[Features, ...]
    drawn: Features
    detail: Floats
    rows: Split

    def own_kinds(self) -> torch.Tensor:
        """Return the kinds of the pictures to train on: int64, (pictures,)."""
        return torch.tensor(self.kinds.of_pictures)[torch.from_numpy(self.rows.training)]

    def training_set(self) -> TrainingSet:
        """Return the features to train on, of pictures and of drawn surfaces."""
        drawn = torch.from_numpy(self.drawn)
        views = [torch.cat([torch.from_numpy(view), drawn]) for view in self.features]
        kinds = torch.cat([self.own_kinds(), torch.full((len(drawn),), self.kinds.drawn)])
        sides = torch.tensor([self.index[row].short_side for row in self.rows.training.tolist()])
        has_detail = torch.cat([sides > LEAST_DETAIL, torch.zeros(len(drawn), dtype=torch.bool)])
        return TrainingSet(torch.stack(views), kinds, torch.from_numpy(self.detail), has_detail)


def split(index: Sequence[LabelledPicture], small: Pixels, forbidden: Sequence[Pixels]) -> Split:
    """Return the split: a fifth is held out, near-copies on one side.

    Args:
        index: all pictures.
        small: their views or thumbnails, (n, side, side, 3).
        forbidden: views of photos that are only measured on: they and their near-copies are neither
            trained on nor held out, since the scale is fitted on held-out pictures.
    """
    names = group_names([picture.source for picture in index], copy_pairs(small, small))
    outside = held_out(names)
    refused = np.zeros(len(index), np.bool_)
    for views in forbidden:
        refused[[place for _, place in copy_pairs(views, small)]] = True
    return Split(
        np.flatnonzero(~outside & ~refused), np.flatnonzero(outside & ~refused), int(refused.sum())
    )


def whole_photos(data: Path) -> WholePhotos:
    """Return the full-size photos beside the training folder; none where there are none."""
    photos = read_demo_index(data.parent / PHOTOS_FOLDER)
    paths = [photo.path for photo in photos]
    return WholePhotos(
        tuple(path.name for path in paths),
        tuple(photo.labels for photo in photos),
        photo_views(paths, IMAGE_SIZE),
    )


def free_photos() -> WholePhotos:
    """Return the twelve photos of the demo, with the label that each has."""
    names, labels, paths = [], [], []
    for package, inside, name in FREE_PHOTOS:
        found = find_spec(package)
        if found is not None and found.origin is not None:
            names.append(name)
            labels.append(FREE_LABELS.get(name, ()))
            paths.append(Path(found.origin).parent / inside)
    return WholePhotos(tuple(names), tuple(labels), photo_views(paths, IMAGE_SIZE))


FREE_LABELS = {
    "chelsea-the-cat.png": ("cat",),
    "coffee.png": ("food",),
    "summer-palace.jpg": ("city",),
}


def trial_of(data: Path, material: Material) -> Trial:
    """Return the held-out pictures, as the run time sees them, and the whole photos."""
    outside = material.rows.outside.tolist()
    pictures = [material.index[row] for row in outside]
    views = np.zeros((len(pictures), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for place, image in enumerate(read_images(data, pictures)):
        views[place] = view_of(image, IMAGE_SIZE)
    return Trial(
        views,
        tuple(picture.labels for picture in pictures),
        tuple(material.kinds.of_pictures[row] for row in outside),
        material.kinds,
        whole_photos(data),
        free_photos(),
    )
