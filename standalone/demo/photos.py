"""Free photos from installed packages, for the demo without a folder."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from core.errors import ConfigurationError

#: (package, path inside it, name in the archive). Licences: scikit-image's data folder and
#: scikit-learn's image folder name the source of each; all may be used and passed on.
FREE_PHOTOS = (
    ("skimage", "data/chelsea.png", "chelsea-the-cat.png"),
    ("skimage", "data/coffee.png", "coffee.png"),
    ("skimage", "data/rocket.jpg", "rocket.jpg"),
    ("skimage", "data/astronaut.png", "astronaut.png"),
    ("skimage", "data/motorcycle_left.png", "motorcycle.png"),
    ("skimage", "data/camera.png", "cameraman.png"),
    ("skimage", "data/coins.png", "coins.png"),
    ("skimage", "data/grass.png", "grass.png"),
    ("skimage", "data/moon.png", "moon.png"),
    ("skimage", "data/hubble_deep_field.jpg", "hubble.jpg"),
    ("sklearn", "datasets/images/china.jpg", "summer-palace.jpg"),
    ("sklearn", "datasets/images/flower.jpg", "flower.jpg"),
)


def copy_free_photos(folder: Path) -> tuple[Path, ...]:
    """Copy the free photos into a folder; return their paths.

    Raises:
        ConfigurationError: none of the packages is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copied = []
    for package, inside, name in FREE_PHOTOS:
        found = find_spec(package)
        if found is None or found.origin is None:
            continue
        source = Path(found.origin).parent / inside
        if source.exists():
            copied.append(Path(shutil.copyfile(source, folder / name)))
    if not copied:
        raise ConfigurationError("no free photos are installed: name a folder, PHOTOS=~/Pictures")
    return tuple(copied)
