"""The labelled pictures: index, pixels and the split into training and held-out parts."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from core.errors import ConfigurationError

Pixels = npt.NDArray[np.uint8]

INDEX_NAME = "photos-train.csv"
DEMO_INDEX_NAME = "photos-demo.csv"
HELD_OUT_PARTS = 5  # one fifth is never used for training


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One labelled picture of the training archive.

    `labels` are those of the project's labels that it shows, the main one first; it may be empty.
    """

    shard: str
    file: str
    source: str
    labels: tuple[str, ...]
    source_class: str
    caption: str
    words: tuple[str, ...]
    short_side: int = 64  # px


@dataclass(frozen=True, slots=True)
class DemoPhoto:
    """One full-size photo, used only to check the finished model."""

    path: Path
    labels: tuple[str, ...]


def split_cell(cell: str) -> tuple[str, ...]:
    """Return the names in an `a|b` cell of the index."""
    return tuple(name for name in cell.split("|") if name)


def read_index(folder: Path) -> tuple[LabelledPicture, ...]:
    """Return every row of the training index, in file order.

    Raises:
        ConfigurationError: the folder has no index.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        message = f"--data {folder}: no {INDEX_NAME} there"
        raise ConfigurationError(message)
    with path.open(encoding="utf-8", newline="") as lines:
        return tuple(
            LabelledPicture(
                shard=row["shard"],
                file=row["file"],
                source=f"{row['source_repo']}/{row['source_path']}",
                labels=split_cell(row["labels"]),
                source_class=row["source_class"],
                caption=row["caption"],
                words=split_cell(row["words"]),
                short_side=min(int(row["width"]), int(row["height"])),
            )
            for row in csv.DictReader(lines)
        )


def read_demo_index(folder: Path) -> tuple[DemoPhoto, ...]:
    """Return the full-size photos beside the training set; empty where there are none."""
    path = folder / DEMO_INDEX_NAME
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as lines:
        return tuple(
            DemoPhoto(folder / row["file"], split_cell(row["labels"]))
            for row in csv.DictReader(lines)
        )


def view_of(image: Image.Image, size: int) -> Pixels:
    """Return the model's view: shorter side `size`, bicubic with antialiasing, centre crop.

    It equals open_clip's evaluation transform (`resize_mode` shortest) before normalisation, pixel
    for pixel. uint8, (size, size, 3).
    """
    rgb = image.convert("RGB")
    scale = size / min(rgb.size)
    # torchvision truncates the longer side; rounding would move the crop by a pixel
    width, height = (size if side == min(rgb.size) else int(side * scale) for side in rgb.size)
    resized = rgb.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def photo_views(paths: Sequence[Path], size: int) -> Pixels:
    """Return the model's views of whole photos, turned upright: uint8, (photos, size, size, 3)."""
    views = np.zeros((len(paths), size, size, 3), np.uint8)
    for place, path in enumerate(paths):
        with Image.open(path) as image:
            views[place] = view_of(ImageOps.exif_transpose(image), size)
    return views


def read_images(folder: Path, pictures: Sequence[LabelledPicture]) -> Iterator[Image.Image]:
    """Yield the pictures as RGB, one after the other."""
    shards = {name: zipfile.ZipFile(folder / name) for name in {p.shard for p in pictures}}
    try:
        for picture in pictures:
            with Image.open(io.BytesIO(shards[picture.shard].read(picture.file))) as image:
                yield image.convert("RGB")
    finally:
        for shard in shards.values():
            shard.close()


def held_out(groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which pictures are not for training: a fifth of the groups, by hash of their names.

    Pictures of one group (near-copies of each other) are on the same side.
    """
    return np.array(
        [hashlib.sha256(group.encode()).digest()[0] % HELD_OUT_PARTS == 0 for group in groups]
    )
