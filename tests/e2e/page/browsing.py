"""A real Chromium for tests of the page, and what it noticed while a test used it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request, sync_playwright

#: Debian's package, and the names under which others install it. CI installs it (`.ci/run`).
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Of waiting for anything on the page: a machine half as fast, under load.
PATIENCE_MS = 60_000.0
#: Fills `window.violations`: the console has each too, in words that may change.
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
  `${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


def chromium() -> str | None:
    """Return the path of an installed Chromium; None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a headless Chromium; end it with the block.

    Raises:
        FileNotFoundError: none is installed.
    """
    program = chromium()
    if program is None:
        raise FileNotFoundError("no Chromium")
    with sync_playwright() as playwright:
        browser = _launched(playwright, program)
        try:
            yield browser
        finally:
            browser.close()


def _launched(playwright: Playwright, program: str) -> Browser:
    # Its own sandbox needs user namespaces, which containers and root often lack.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=program, args=flags)


Theme = Literal["light", "dark"]
Language = Literal["en", "ru"]


@dataclass(frozen=True, slots=True)
class Look:
    """How the page is looked at."""

    width: int = 1280
    height: int = 900
    theme: Theme = "light"
    language: Language = "en"
    pixel_ratio: float = 1.0

    def __str__(self) -> str:
        return f"{self.theme} {self.language} {self.width}"


@dataclass(slots=True)
class Visit:
    """One browser context on one archive, and what went wrong in it.

    Attributes:
        errors: what the page wrote to the console as an error, and uncaught exceptions.
        strange_requests: addresses of other hosts that the page asked.
    """

    base_url: str
    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    strange_requests: list[str] = field(default_factory=list)

    def go(self, place: str) -> None:
        """Go to a place of the page, such as `#/photos`."""
        self.page.goto(f"{self.base_url}/{place}")

    def violations(self) -> list[str]:
        """Return what the content security policy refused on the page as it is now."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def check(self) -> None:
        """Check that nothing went wrong so far.

        Raises:
            AssertionError: names what did.
        """
        assert self.violations() == [], "the policy was violated"
        assert self.errors == [], "the console has errors"
        assert self.strange_requests == [], "another host was asked"

    def _note_request(self, request: Request) -> None:
        parts, own = urlsplit(request.url), urlsplit(self.base_url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != own.netloc:
            self.strange_requests.append(request.url)


@contextmanager
def visit(
    browser: Browser, base_url: str, look: Look | None = None, *, expects_errors: bool = False
) -> Iterator[Visit]:
    """Open a context of its own: no cookies, no storage; end it with the block.

    Args:
        expects_errors: answers of 4xx and 5xx are meant, so the console's note of each is left out.
    """
    look = look or Look()
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme=look.theme,
        locale=look.language,
        device_scale_factor=look.pixel_ratio,
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(_NOTE_VIOLATIONS)
    try:
        seen = Visit(base_url, context, context.new_page())
        seen.page.on("pageerror", lambda error: seen.errors.append(f"uncaught: {error}"))
        seen.page.on(
            "console",
            lambda message: (
                None
                if message.type != "error"
                or (expects_errors and message.text.startswith("Failed to load resource"))
                else seen.errors.append(message.text)
            ),
        )
        # Playwright sets an attribute on the object of a bound method, and this one has slots.
        context.on("request", lambda request: seen._note_request(request))  # noqa: PLW0108
        yield seen
    finally:
        context.close()
