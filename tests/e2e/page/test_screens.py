"""Every screen of the page in its states: what axe-core finds, and what the browser refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import pytest
from playwright.sync_api import Browser

from tests.e2e.page.accessibility import findings
from tests.e2e.page.browsing import Language, Look, Theme, Visit, visit
from tests.e2e.page.peopled import PeopledArchive
from tests.e2e.page.staging import FULL, STATES, State

THEMES: tuple[Theme, ...] = ("light", "dark")
LANGUAGES: tuple[Language, ...] = ("en", "ru")
LOOKS = tuple(Look(*one) for one in product((1280, 320), (900,), THEMES, LANGUAGES))


def place_of(screen: str, peopled: PeopledArchive) -> str:
    """Return the address of a screen, with something on it."""
    return {
        "photos": "#/photos",
        "list": "#/photos?view=list",
        "photo": f"#/photos/{peopled.images['chelsea-the-cat.png']}",
        "unreadable photo": f"#/photos/{peopled.images['cut.jpg']}",
        "search": "#/search?text=кошки+on+the+grass",
        "duplicates": "#/duplicates",
        "labels": "#/labels",
        "queries": "#/queries",
        "query": f"#/queries/{peopled.failing_query}",
        "pipeline": "#/pipeline",
        "inbox": f"#/inbox/{peopled.inbox}",
    }[screen]


SCREENS = (
    "photos", "list", "photo", "unreadable photo", "search", "duplicates", "labels", "queries",
    "query", "pipeline", "inbox",
)  # fmt: skip


#: A window that Chromium still draws without tricks.
MOST_HIGH = 12_000
_CONTENT_HEIGHT = """
Math.max(...["main", "app"].map((id) => document.getElementById(id)?.scrollHeight ?? 0))
"""
BARS = 200  # above and below what is scrolled


@contextmanager
def shown(
    browser: Browser, peopled: PeopledArchive, screen: str, state: State, look: Look
) -> Iterator[Visit]:
    """Open a screen in a state, as it looks when nothing moves any more."""
    with visit(browser, peopled.url, look, expects_errors=state is not FULL) as seen:
        seen.page.goto(peopled.link(state.key))
        seen.page.locator("nav.places").wait_for()
        if state.stage is not None:
            state.stage(seen)
        seen.page.evaluate("(place) => { location.hash = place; }", place_of(screen, peopled))
        seen.page.locator(
            "#screens > section:not([hidden]) h1, #trouble [role=alert]"
        ).first.wait_for(state="attached")
        settle(seen, state)
        yield seen


def settle(seen: Visit, state: State) -> None:
    """Wait until the screen has what it asked for; where it never comes, until it has asked."""
    if state.name != "loading":
        seen.page.wait_for_function(
            "() => !document.querySelector('#screens > :not([hidden]):is([aria-busy=true],"
            " :has([aria-busy=true], .waits))')"
        )
    seen.page.wait_for_function("() => document.fonts.status === 'loaded'")


def overflow(seen: Visit) -> int:
    """Return by how many pixels the page can be scrolled sideways."""
    found: int = seen.page.evaluate(
        "Math.max(...[document.documentElement, document.getElementById('main')].filter(Boolean)"
        ".map((one) => one.scrollWidth - one.clientWidth))"
    )
    return found


def unfold(seen: Visit) -> None:
    """Make the window so high that nothing lies below its fold, where axe sees no contrasts."""
    # The foot begins below the fold, however high the window is.
    seen.page.evaluate("document.getElementById('screens').style.minHeight = 0")
    while True:
        height = min(MOST_HIGH, BARS + int(seen.page.evaluate(_CONTENT_HEIGHT)))
        size = seen.page.viewport_size
        if size is None or size["height"] >= height:
            return
        # A higher window may show more, such as the next page of a list.
        seen.page.set_viewport_size({"width": size["width"], "height": height})


def look_at(
    browser: Browser, peopled: PeopledArchive, screen: str, state: State, look: Look
) -> None:
    """Check one screen.

    Raises:
        AssertionError: says what is wrong.
    """
    with shown(browser, peopled, screen, state, look) as seen:
        assert overflow(seen) <= 0, "it scrolls sideways"
        unfold(seen)
        assert findings(seen.page) == []
        seen.check()


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_has_no_finding(browser: Browser, peopled: PeopledArchive, screen: str) -> None:
    look = LOOKS[SCREENS.index(screen) % len(LOOKS)]

    look_at(browser, peopled, screen, FULL, look)


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("screen", SCREENS)
def test_every_screen_in_every_state_has_no_finding(
    browser: Browser, peopled: PeopledArchive, screen: str, state: State, look: Look
) -> None:
    look_at(browser, peopled, screen, state, look)
