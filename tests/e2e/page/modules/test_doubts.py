"""What a photo lacks, and what its tags are unsure of, is said; and fits a narrow screen."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ingress.routes.documents import PAGES
from tests.e2e.page.browsing import Language, Look
from tests.e2e.page.faked import ORIGIN, faked_page, give, signed_in

ID = "00000001-0000-0000-0000-000000000000"
_MONTH = """() => {
  const columns = new ArrayBuffer(16 + 22), head = new DataView(columns);
  head.setUint32(0, 0x50415431);
  head.setUint32(4, 1, true);
  head.setUint32(16, 1);
  head.setUint16(32, 1000, true);
  head.setUint8(37, 1);
  answers["GET /timeline"] = { total: 1, is_exact: true,
    months: [{ month: "2026-11", images: 1, mean_ratio: 1, parts: 1 }] };
  answers["GET /timeline/2026-11"] = columns;
}"""
WORDS: dict[Language, tuple[str, str, str, str]] = {
    "en": ("a guess", "no date", "no date in the photo; arrived November 30, 2026", "no contact"),
    "ru": (
        "догадка",
        "без даты",
        "в фотографии нет даты; поступила 30 ноября 2026",
        "нет связи",
    ),
}


def image(score: float, taken: str | None) -> dict[str, Any]:
    return {
        "image_id": ID, "image_path": "a/1.jpg", "status": "tagged", "exif_datetime": taken,
        "exif_source": taken and "DateTimeOriginal", "arrived_at": "2026-11-30T12:00:00Z",
        "tags": [{"tag": "military", "score": score}], "tagged_at": "2026-11-30T12:00:01Z",
        "links": {},
    }  # fmt: skip


def open_photos(page: Page, shown: dict[str, Any], language: Language = "en") -> None:
    page.goto(f"{ORIGIN}/#/photos")
    page.evaluate("(language) => localStorage.setItem('language', language)", language)
    page.add_style_tag(path=PAGES / "app" / "page.css")
    page.evaluate(_MONTH)
    give(page, {"GET /images": {"images": [shown], "next": None}, f"GET /images/{ID}": shown})
    page.evaluate("() => { import('/main.js'); }")
    expect(page.locator(".tile .tag")).to_contain_text("military")


@pytest.mark.parametrize("language", WORDS)
def test_a_weak_tag_is_a_guess_on_the_tile_and_in_the_photo(page: Page, language: Language) -> None:
    guess = WORDS[language][0]

    open_photos(page, image(0.12, None), language)

    label = page.locator(".tile .tag")
    expect(label).to_contain_text("?")
    assert label.evaluate("one => getComputedStyle(one).borderStyle") == "dashed"
    expect(page.get_by_role("link", name=f"({guess})")).to_be_visible()
    page.evaluate("(id) => { location.hash = `#/photos/${id}`; }", ID)
    expect(page.locator(".bars .figure")).to_contain_text(guess)


def test_a_sure_tag_is_none(page: Page) -> None:
    open_photos(page, image(0.97, "2026:11:02 10:00:00"))

    label = page.locator(".tile .tag")
    expect(label).not_to_contain_text("?")
    assert label.evaluate("one => getComputedStyle(one).borderStyle") == "solid"
    expect(page.get_by_role("link", name="a guess")).to_have_count(0)
    expect(page.locator(".tile .undated")).to_be_hidden()


@pytest.mark.parametrize("language", WORDS)
def test_a_photo_without_a_date_says_that_it_stands_at_its_arrival(
    page: Page, language: Language
) -> None:
    _, mark, sentence, _ = WORDS[language]

    open_photos(page, image(0.97, None), language)

    expect(page.locator(".tile .undated")).to_have_text(mark)
    expect(page.get_by_role("link", name=sentence)).to_be_visible()
    page.evaluate("(id) => { location.hash = `#/photos/${id}`; }", ID)
    expect(page.locator("dl").first).to_contain_text(sentence)


def test_photos_without_a_date_can_be_filtered(page: Page) -> None:
    open_photos(page, image(0.97, None))

    page.evaluate("location.hash = '#/photos?has_date=false'")

    expect(page.locator(".chips")).to_contain_text("no date in the photo")
    page.wait_for_function(
        "addressesOf('/timeline').some(({ address }) => address.includes('has_date=false'))"
    )


@pytest.mark.parametrize("language", WORDS)
def test_on_a_narrow_screen_words_are_whole_and_cover_nothing(
    browser: Browser, language: Language
) -> None:
    with faked_page(browser, Look(width=320, height=640, theme="dark")) as page:
        open_photos(page, image(0.97, None), language)
        page.wait_for_function("Boolean(window.stream?.heard.pipeline)")
        page.evaluate("() => { stream.readyState = 0; stream.onerror(); }")
        lamp = page.locator(".lamp")
        expect(lamp).to_have_text(WORDS[language][3])

        box, shape = lamp.bounding_box(), page.locator("nav a:has(.lamp) .icon").bounding_box()
        assert box
        assert shape
        assert box["y"] >= shape["y"] + shape["height"], "the lamp covers the icon"
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
        undated = page.locator(".tile .undated").bounding_box()
        assert undated
        assert undated["height"] < 30
        order = page.locator(".filter-bar select")
        for at in range(3):
            order.evaluate("(one, at) => { one.selectedIndex = at; }", at)
            assert order.evaluate(_IS_WHOLE), order.evaluate("one => one.value")


#: Whether the chosen text fits into a box of choices: measured beside it, in its own font.
_IS_WHOLE = """(box) => {
  const text = document.createElement("span");
  const { font, paddingLeft, paddingRight } = getComputedStyle(box);
  Object.assign(text.style, { font, position: "absolute", whiteSpace: "nowrap" });
  text.textContent = box.selectedOptions[0].textContent;
  document.body.append(text);
  const { width } = text.getBoundingClientRect();
  text.remove();
  const arrow = 16;
  return width <= box.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - arrow;
}"""


def test_an_error_stands_above_its_button_where_there_is_little_room(browser: Browser) -> None:
    with faked_page(browser, Look(width=320, height=640)) as page:
        signed_in(page)
        page.add_style_tag(path=PAGES / "app" / "page.css")
        page.evaluate("""async () => {
          const { render } = await import("/lit/lit-html.js");
          const { problemStrip } = await import("/parts.js");
          render(problemStrip({ code: "unreachable" }, () => {}), document.getElementById("main"));
        }""")

        text = page.locator(".strip > div").bounding_box()
        button = page.locator(".strip button").bounding_box()
        assert text
        assert button
        assert text["width"] > 160
        assert button["y"] >= text["y"] + text["height"]
