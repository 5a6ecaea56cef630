"""One browser for all tests of the page; each visit has a context of its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.page.browsing import chromium, open_browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium; skip where none is installed."""
    if chromium() is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with open_browser() as opened:
        yield opened
