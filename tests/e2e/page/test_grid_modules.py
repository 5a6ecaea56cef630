"""What the grid does with photos whose shapes it does not know before their month is there."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from ingress.routes.documents import PAGES
from tests.e2e.page.browsing import Look
from tests.e2e.page.faked import ORIGIN, faked_page

PHOTOS, MONTHS = 20_000, 80
#: The server's mean is of another shape than many photos: months get other heights when they come.
_MONTHS = """([photos, months]) => {
  const each = Math.floor(photos / months), named = [];
  for (let at = 0; at < months; at += 1) {
    const month = `${2026 - Math.floor(at / 12)}-${String(12 - (at % 12)).padStart(2, "0")}`;
    named.push({ month, images: each, mean_ratio: 1.33, parts: 1 });
  }
  answers["GET /timeline"] = { total: each * months, is_exact: true, months: named };
  named.forEach(({ month }, at) => {
    answers[`GET /timeline/${month}`] = async () => {
      const columns = new ArrayBuffer(16 + each * 22), head = new DataView(columns);
      head.setUint32(0, 0x50415431);
      head.setUint32(4, each, true);
      for (let one = 0; one < each; one += 1) {
        head.setUint32(16 + one * 16, at * each + one + 1);
        head.setUint16(16 + each * 16 + one * 2, [400, 700, 2500, 3900][(one * 7 + at) % 4], true);
        head.setUint8(16 + each * 21 + one, 1);
      }
      return columns;
    };
  });
  answers["GET /images"] = (address) => ({
    images: new URLSearchParams(address.split("?")[1]).getAll("id").map((id) => (
      { image_id: id, image_path: "photos/one.jpg", status: "tagged", tags: [], links: {} })),
  });
}"""
LOOKS = (
    Look(), Look(pixel_ratio=2.0), Look(pixel_ratio=3.0), Look(width=320, height=640),
    Look(width=700, height=500),
)  # fmt: skip


@pytest.fixture(name="look")
def _look() -> Look:
    return Look()


@pytest.fixture(name="page")
def _page(browser: Browser, look: Look) -> Iterator[Page]:
    with faked_page(browser, look) as page:
        page.goto(f"{ORIGIN}/#/photos")
        page.add_style_tag(path=PAGES / "app" / "page.css")
        page.evaluate(_MONTHS, [PHOTOS, MONTHS])
        page.evaluate("() => { import('/main.js'); }")
        expect(page.locator(".tile").first).to_be_visible()
        yield page


def is_settled(page: Page) -> None:
    """Wait until nothing is fetched, and nothing has moved for some frames."""
    page.evaluate("""() => new Promise((done) => {
      let before = "", still = 0;
      const look = () => {
        const now = JSON.stringify([asked.length, document.getElementById("main").scrollTop,
          document.querySelector(".spine").style.height,
          [...document.querySelectorAll(".tile")].map((one) => one.style.transform)]);
        still = now === before ? still + 1 : 0;
        before = now;
        if (still > 20) done();
        else setTimeout(look, 25);
      };
      look();
    })""")


def in_sight(page: Page, position: int) -> bool:
    """Tell whether the photo at a place of the timeline, from 1, is on the screen."""
    found: bool = page.evaluate(
        """(position) => {
          const tile = document.querySelector(`.tile[aria-posinset="${position}"]`);
          const screen = document.getElementById("main").getBoundingClientRect();
          const box = tile?.getBoundingClientRect();
          return Boolean(box) && box.bottom > screen.top && box.bottom <= screen.bottom + 1;
        }""",
        position,
    )
    return found


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.width} x {look.pixel_ratio}")
def test_one_key_brings_the_oldest_photo_into_sight(page: Page) -> None:
    is_settled(page)

    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    is_settled(page)

    assert in_sight(page, PHOTOS)


@pytest.mark.parametrize("bar", ["the months", "the window"])
def test_one_pull_of_a_bar_brings_the_oldest_photo_into_sight(page: Page, bar: str) -> None:
    is_settled(page)

    if bar == "the months":
        box = page.get_by_role("slider").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 0.5)
    else:
        page.evaluate("""() => {
          const main = document.getElementById("main");
          main.scrollTop = main.scrollHeight;
        }""")
    is_settled(page)

    assert in_sight(page, PHOTOS)


def test_who_scrolls_on_is_not_held_at_the_end(page: Page) -> None:
    is_settled(page)
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    is_settled(page)

    page.mouse.move(300, 400)
    page.mouse.wheel(0, -1800)
    page.wait_for_function(
        "!document.querySelector('.tile[aria-posinset=\"20000\"]')?.checkVisibility()"
        " || document.querySelector('.tile[aria-posinset=\"20000\"]')"
        ".getBoundingClientRect().top > innerHeight"
    )
    is_settled(page)

    assert not in_sight(page, PHOTOS)


def pictures(page: Page) -> int:
    return page.locator(".tile img").count()


def tiles_in_sight(page: Page) -> int:
    found: int = page.evaluate(
        """() => {
          const screen = document.getElementById("main").getBoundingClientRect();
          const isSeen = ({ top, bottom }) => bottom > screen.top && top < screen.bottom;
          const all = [...document.querySelectorAll(".tile")];
          return all.filter((one) => isSeen(one.getBoundingClientRect())).length;
        }"""
    )
    return found


def test_until_somebody_scrolls_pictures_are_those_in_sight(page: Page) -> None:
    is_settled(page)
    at_first, seen = pictures(page), tiles_in_sight(page)

    page.mouse.move(300, 400)
    page.mouse.wheel(0, 40)
    page.wait_for_function(f"document.querySelectorAll('.tile img').length > {at_first}")
    is_settled(page)

    assert 0 < at_first <= seen
    assert pictures(page) > tiles_in_sight(page)


def test_the_words_of_the_first_view_are_asked_for_once(page: Page) -> None:
    is_settled(page)

    asked = page.evaluate("addressesOf('/images').map((one) => one.address)")
    ids = [id_ for address in asked for id_ in parse_qs(urlsplit(address).query).get("id", [])]

    assert ids
    assert len(ids) == len(set(ids)), "of each tile once, in however many requests"
