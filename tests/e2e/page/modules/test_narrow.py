"""What a narrow screen must not cut, and what must not jump."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from ingress.routes.documents import PAGES
from tests.e2e.page.browsing import Language, Look
from tests.e2e.page.faked import ORIGIN, call, faked_page, give, signed_in

ONE = "00000000-0000-5000-8000-00000000000a"


@pytest.fixture(name="language")
def _language() -> Language:
    return "en"


@pytest.fixture(name="page")
def _page(browser: Browser, language: Language) -> Iterator[Page]:
    with faked_page(browser, Look(width=320, height=700, language=language)) as page:
        yield page


def dressed(page: Page) -> None:
    for name in ("page.css", "work.css"):
        page.add_style_tag(path=PAGES / "app" / name)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_names_of_the_places_are_whole_also_of_the_one_that_is_open(page: Page) -> None:
    page.goto(f"{ORIGIN}/#/photos")
    dressed(page)
    give(page, {"GET /timeline": {"total": 0, "is_exact": True, "months": []}})
    page.evaluate("() => { import('/main.js'); }")
    places = page.locator("nav.places > a:not(.brand)")
    expect(places).to_have_count(5)

    for at in range(5):
        cut = places.nth(at).evaluate(
            """(place) => {
              for (const one of place.parentElement.children) one.removeAttribute("aria-current");
              place.setAttribute("aria-current", "page");
              const name = place.querySelector("span");
              const { width } = place.getBoundingClientRect();
              const { width: written, height } = name.getBoundingClientRect();
              const line = Number.parseFloat(getComputedStyle(name).fontSize) * 2;
              return written > width || height > line ? name.textContent : "";
            }"""
        )
        assert cut == ""


@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_figure_keeps_its_unit_on_its_line(page: Page) -> None:
    signed_in(page)

    for written in (
        call(page, "words", "duration", 256),
        call(page, "words", "duration", 3.5),
        call(page, "words", "bytes", 18_000),
    ):
        assert " " not in written
        assert "\u00a0" in written


def test_a_photo_has_its_place_before_its_picture_is_there(page: Page) -> None:
    signed_in(page)
    dressed(page)
    photo = {
        "image_id": ONE, "image_path": "a.jpg", "status": "tagged", "tags": [], "excluded": False,
        "arrived_at": "2026-01-01T00:00:00Z", "tagged_at": "2026-01-01T00:00:01Z", "model": "m",
        "width": 4000, "height": 3000,
    }  # fmt: skip
    give(page, {f"GET /images/{ONE}": photo, "GET /queries": {"queries": []},
                f"GET /images/{ONE}/similar": {"images": []},
                "GET /timeline": {"total": 0, "is_exact": True, "months": []}})  # fmt: skip
    page.route("**/thumb*", lambda route: None)  # it is under way

    page.evaluate("""async (id) => {
      const { open } = await import("/photo.js");
      await open(document.getElementById("main"), { id, params: new URLSearchParams() });
    }""", ONE)  # fmt: skip

    box = page.locator(".large").bounding_box()
    assert box is not None
    assert 200 < box["width"] <= 320
    assert box["height"] == pytest.approx(box["width"] * 3 / 4, abs=2)
