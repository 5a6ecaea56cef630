"""What is said where a file of the page that comes late does not come."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.page.browsing import Language
from tests.e2e.page.faked import ORIGIN

_SILENT = "() => { answers['GET /api.js'] = () => { throw new TypeError('Failed to fetch'); }; }"
WORDS: dict[Language, tuple[str, str, str, str]] = {
    "en": ("doesn't answer", "Try again", "started anew", "Load again"),
    "ru": ("не отвечает", "Повторить", "запущен заново", "Загрузить заново"),
}


def begin(page: Page, language: Language = "en") -> None:
    """Start the shell at an archive without photos."""
    page.goto(f"{ORIGIN}/#/photos")
    page.evaluate(
        """async (language) => {
          localStorage.setItem("language", language);
          answers["GET /timeline"] = {total: 0, is_exact: true, months: []};
          answers["GET /queries"] = {queries: [], next: null};
          await import("/main.js");
        }""",
        language,
    )
    expect(page.locator("nav.places")).to_be_visible()
    expect(page.locator(".drop-zone")).to_be_visible()


def lose(page: Page, *names: str) -> None:
    """Have these files not come."""
    for name in names:
        page.route(f"{ORIGIN}/{name}", lambda route: route.abort())


def find(page: Page, name: str) -> None:
    page.unroute(f"{ORIGIN}/{name}")


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("name", ["queries.js", "dialogs.js"])
def test_a_screen_that_nobody_sends_is_an_archive_that_does_not_answer(
    page: Page, name: str, language: Language
) -> None:
    silent, again, anew, _ = WORDS[language]
    begin(page, language)
    page.evaluate(_SILENT)
    lose(page, name)

    page.evaluate("location.hash = '#/queries'")

    strip = page.locator("#trouble [role=alert]")
    expect(strip).to_contain_text(silent)
    expect(strip).not_to_contain_text(anew)
    for detail in ("http", ".js", "unreachable", "stale"):
        expect(strip).not_to_contain_text(detail)
    find(page, name)
    strip.get_by_role("button", name=again).click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(strip).to_have_count(0)


@pytest.mark.parametrize("language", WORDS)
def test_a_screen_that_the_archive_no_longer_has_means_another_page(
    page: Page, language: Language
) -> None:
    _, _, anew, reload = WORDS[language]
    begin(page, language)  # the fake archive knows no file of this page: 404
    lose(page, "queries.js")

    page.evaluate("location.hash = '#/queries'")

    strip = page.locator("#trouble [role=alert]")
    expect(strip).to_contain_text(anew)
    for detail in ("http", ".js", "stale"):
        expect(strip).not_to_contain_text(detail)
    with page.expect_navigation():
        strip.get_by_role("button", name=reload).click()


def test_a_screen_that_ends_with_an_error_is_the_fault_of_the_page(page: Page) -> None:
    begin(page)
    page.evaluate("() => { answers['GET /api.js'] = {}; }")

    def broken(route: Route) -> None:
        route.fulfill(body="throw new Error('secret place')", content_type="text/javascript")

    page.route(f"{ORIGIN}/queries.js", broken)
    page.evaluate("location.hash = '#/queries'")

    strip = page.locator("#trouble [role=alert]")
    expect(strip).to_contain_text("This page has a fault")
    expect(strip).not_to_contain_text("secret place")
    expect(strip.get_by_role("button", name="Load again")).to_be_visible()


def test_a_press_that_needs_a_file_says_that_nothing_answers(page: Page) -> None:
    begin(page)
    page.evaluate(_SILENT)
    lose(page, "account.js")

    page.get_by_role("button", name="You and the settings").click()

    toast = page.locator(".toast")
    expect(toast).to_contain_text("doesn't answer")
    expect(toast).to_have_count(1)  # no word of signing in: the session was there before


def test_the_screen_comes_by_itself_when_the_archive_is_back(page: Page) -> None:
    begin(page)
    page.wait_for_function("Boolean(window.stream?.heard.pipeline)")
    page.evaluate("() => { stream.readyState = 0; stream.onerror(); }")
    page.evaluate(_SILENT)
    lose(page, "queries.js")
    page.evaluate("location.hash = '#/queries'")
    expect(page.locator("#trouble [role=alert]")).to_be_visible()

    find(page, "queries.js")
    page.evaluate("() => { stream.readyState = 1; say('hello', {}); }")

    expect(page.get_by_role("heading", level=1)).to_have_text("Queries")
    expect(page.locator("#trouble [role=alert]")).to_have_count(0)
