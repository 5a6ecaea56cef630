"""Take the pictures of the page that the README shows, from a running archive.

    python -m tests.e2e.page.pictures [--all FOLDER]

With `--all` every screen as well, light and dark, wide and narrow, English and Russian, in a folder
of one's own: to be looked at, not to be kept.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser

from tests.e2e.page.browsing import Look, open_browser
from tests.e2e.page.peopled import PeopledArchive, peopled_archive
from tests.e2e.page.staging import FULL
from tests.e2e.page.test_screens import SCREENS, shown

KEPT = Path(__file__).parents[3] / "docs" / "page"
#: File -> screen and look. The first two stand at the top of the README.
PICTURES = {
    "photos-light": ("photos", Look(1280, 800)),
    "photos-dark": ("photos", Look(1280, 800, "dark")),
    "search": ("search", Look(1280, 800)),
    "query": ("query", Look(1280, 800)),
    "pipeline": ("pipeline", Look(1280, 800)),
    "narrow-russian": ("photos", Look(390, 800, "light", "ru")),
}
QUALITY = 82  # of JPEG: photos at a twentieth of a PNG


def take(browser: Browser, peopled: PeopledArchive, screen: str, look: Look, file: Path) -> None:
    """Take one picture, when all photos on it are there."""
    with shown(browser, peopled, screen, FULL, look) as seen:
        seen.page.wait_for_function(
            "() => [...document.images].every((one) => one.complete) && !document.querySelector("
            "'.tile img:not(.here)')"
        )
        # Whose session has begun is said for some seconds; a picture shows the screen.
        seen.page.evaluate("document.getElementById('toasts').replaceChildren()")
        seen.page.screenshot(path=file, type="jpeg", quality=QUALITY)


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    folder = parser.parse_args().all
    KEPT.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as photos,
        open_browser() as browser,
        peopled_archive(Path(photos)) as peopled,
    ):
        for name, (screen, look) in PICTURES.items():
            take(browser, peopled, screen, look, KEPT / f"{name}.jpg")
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        sizes = ((1280, 900), (320, 700))
        for screen, (width, height), theme, language in product(
            SCREENS, sizes, ("light", "dark"), ("en", "ru")
        ):
            look = Look(width, height, theme, language)  # type: ignore[arg-type]  # of a product
            name = f"{screen} {look}".replace(" ", "-")
            take(browser, peopled, screen, look, folder / f"{name}.jpg")


if __name__ == "__main__":
    main()
