"""Real photos for the gate of quicker engines, in as many views as the gate needs."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

#: Photos that required packages ship, under free licences: animals, food, people, machines,
#: buildings, texture, sky; two are grey.
_PHOTOS = (
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/moon.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
#: The labels of the check. They are fixed everyday words, because the archive's own labels change
#: and the verdict on an engine must not.
PROMPTS = tuple(
    f"a photo of {words}"
    for words in (
        "a cat",
        "a dog",
        "a car",
        "a landscape",
        "a party",
        "food",
        "a beach",
        "a city",
        "children",
        "sport",
        "a person",
        "an aircraft",
        "a flower",
        "the night sky",
        "a motorcycle",
        "money",
    )
)
_VIEWS = 20  # of each photo: 240 pictures, of which one per cent are two
_SEED = 20261121


def gate_pictures(height: int, width: int) -> NDArray[np.uint8]:
    """Return pictures as a model takes them: uint8 (n, height, width, 3), always the same ones.

    Crops, mirrored or not, darker, brighter, flatter. Empty where no photo is installed.
    """
    chance = np.random.default_rng(_SEED)
    views = [
        np.asarray(_view(photo, chance).resize((width, height), Image.Resampling.BICUBIC))
        for photo in (_open(package, inside) for package, inside in _PHOTOS)
        if photo is not None
        for _ in range(_VIEWS)
    ]
    return np.stack(views) if views else np.zeros((0, height, width, 3), np.uint8)


def _open(package: str, inside: str) -> Image.Image | None:
    found = find_spec(package)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / inside
    if not path.exists():
        return None
    with Image.open(path) as photo:
        return photo.convert("RGB")


def _view(photo: Image.Image, chance: np.random.Generator) -> Image.Image:
    share = chance.uniform(0.5, 0.95)
    width, height = round(photo.width * share), round(photo.height * share)
    left = int(chance.integers(0, photo.width - width + 1))
    top = int(chance.integers(0, photo.height - height + 1))
    view = photo.crop((left, top, left + width, top + height))
    if chance.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    view = ImageEnhance.Brightness(view).enhance(chance.uniform(0.6, 1.4))
    return ImageEnhance.Contrast(view).enhance(chance.uniform(0.7, 1.3))
