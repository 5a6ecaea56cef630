"""One browser and one archive for all tests of the page; each visit has a context of its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.page.browsing import chromium, open_browser
from tests.e2e.page.peopled import PeopledArchive, peopled_archive


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium; skip where none is installed."""
    if chromium() is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def peopled(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopledArchive]:
    """Start an archive with something on every screen."""
    del browser  # without one, nothing has to be started
    with peopled_archive(tmp_path_factory.mktemp("photos")) as started:
        yield started
