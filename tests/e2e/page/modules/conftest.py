"""An empty page beside the modules."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.page.faked import faked_page


@pytest.fixture(name="page")
def _page(browser: Browser) -> Iterator[Page]:
    with faked_page(browser) as page:
        yield page
