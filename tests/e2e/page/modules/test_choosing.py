"""Which photos are chosen, while others come and go and changes end."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from ingress.routes.documents import PAGES
from tests.e2e.page.faked import ORIGIN, give

MONTH = "2026-02"
#: An archive of photos with numbers, all of one month; `bits` are what the columns say of each.
_ARCHIVE = """([month, numbers]) => {
  Object.assign(window, { numbers, bits: 1 });
  window.idOf = (number) => `${number.toString(16).padStart(8, "0")}-0000-0000-0000-000000000000`;
  answers["GET /timeline"] = () => ({ total: numbers.length, is_exact: true,
    months: [{ month, images: numbers.length, mean_ratio: 1, parts: 1 }] });
  answers[`GET /timeline/${month}`] = async () => {
    const n = numbers.length, columns = new ArrayBuffer(16 + n * 22), head = new DataView(columns);
    head.setUint32(0, 0x50415431);
    head.setUint32(4, n, true);
    numbers.forEach((number, at) => {
      head.setUint32(16 + at * 16, number);
      head.setUint16(16 + n * 16 + at * 2, 1000, true);
      head.setUint8(16 + n * 21 + at, bits);
    });
    return columns;
  };
  answers["GET /images"] = (address) => ({ next: null, images: address.includes("id=") ? []
    : numbers.map((number) => ({ image_id: idOf(number), image_path: `${number}.jpg`,
        status: "tagged", tags: [], arrived_at: "2026-02-01T00:00:00Z" })) });
}"""


def open_photos(page: Page, *numbers: int, place: str = "#/photos") -> None:
    """Open the photos with these numbers, the first one first."""
    page.goto(f"{ORIGIN}/{place}")
    page.add_style_tag(path=PAGES / "app" / "page.css")
    page.evaluate(_ARCHIVE, [MONTH, numbers])
    page.evaluate("() => { import('/main.js'); }")
    expect(page.locator(".tile, tbody tr").first).to_be_visible()
    page.wait_for_function("Boolean(window.stream?.heard.images)")
    hear(page, is_first=True)


def hear(page: Page, *, is_first: bool = False, **news: Any) -> None:
    """Let the stream tell of a change of the photos, or begin anew."""
    page.evaluate(
        """([isFirst, news]) => {
          if (isFirst) say("hello", {});
          say("images", { changed: [], truncated: false, statuses: { tagged: numbers.length },
            ...news });
        }""",
        [is_first, news],
    )


def tile(page: Page, number: int) -> Locator:
    return page.locator(f'.tile:has(a[href*="{number:08x}-"])')


def chosen(page: Page) -> Locator:
    return page.locator(".picked-bar > b")


def pick(page: Page, number: int, key: str = "Space") -> None:
    tile(page, number).locator("a").press(key)


def change_of(page: Page, state: str) -> None:
    """Have the archive take a change of photos on, which is in this state when it is asked."""
    begun = {"change_id": "c", "state": "running", "changed": 1, "failed": 0, "error": None,
             "can_undo_until": "2999-01-01T00:00:00Z"}  # fmt: skip
    page.evaluate(
        """([begun, state]) => {
          window.now = { ...begun, state };
          answers["POST /images/changes"] = () => (asked.at(-1).body.dry_run
            ? { matches: 1, would_change: 1, is_exact: true } : begun);
          answers["GET /images/changes/c"] = () => now;
        }""",
        [begun, state],
    )


def test_a_photo_that_is_unticked_is_not_changed_with_all_that_match(page: Page) -> None:
    open_photos(page, 1, 2, 3, place="#/photos?view=list")
    boxes = page.locator("tbody").get_by_role("checkbox")
    boxes.first.check()
    page.get_by_role("button", name="Choose all that match: 3").click()
    expect(chosen(page)).to_have_text("Chosen: 3")
    expect(page.locator("#said")).to_have_text("Chosen: 3")

    boxes.nth(1).click()

    expect(chosen(page)).to_have_count(0)
    expect(page.locator("tbody").get_by_role("checkbox", checked=True)).to_have_count(0)
    expect(page.locator("#toasts")).to_contain_text("nothing is chosen now")


def test_a_range_begins_at_the_photo_that_was_chosen_wherever_it_is_by_then(page: Page) -> None:
    open_photos(page, 1, 2, 3, 4)
    pick(page, 1)
    expect(chosen(page)).to_have_text("Chosen: 1")

    page.evaluate("() => { window.numbers.unshift(11, 12); }")
    hear(page)
    expect(tile(page, 12)).to_be_visible()
    tile(page, 3).locator("a").click(modifiers=["Shift"])

    expect(chosen(page)).to_have_text("Chosen: 3")


def test_what_is_chosen_while_a_change_is_made_stays_chosen(page: Page) -> None:
    open_photos(page, 1, 2, 3)
    change_of(page, "running")
    pick(page, 1)
    page.get_by_role("button", name="Never an answer").click()
    expect(chosen(page)).to_have_count(0)

    pick(page, 2)
    expect(chosen(page)).to_have_text("Chosen: 1")
    page.evaluate("() => { now = { ...now, state: 'done' }; }")

    expect(page.locator("#toasts")).to_contain_text("Excluded photos: 1.")
    expect(chosen(page)).to_have_text("Chosen: 1")


def test_a_photo_that_was_excluded_elsewhere_is_shown_so_whatever_its_columns_said(
    page: Page,
) -> None:
    open_photos(page, 1, 2)
    news = {"image_id": f"{1:08x}-0000-0000-0000-000000000000", "status": "tagged", "tags": []}

    hear(page, changed=[{**news, "excluded": True, "by_hand": True}])
    expect(tile(page, 1)).to_contain_text("⊘ ✎")
    hear(page, changed=[{**news, "excluded": False, "by_hand": False}])

    expect(tile(page, 1)).not_to_contain_text("⊘")
    expect(tile(page, 1)).not_to_contain_text("✎")


@pytest.mark.parametrize("how", ["begun anew", "more than is listed", "one is gone"])
def test_a_month_with_as_many_photos_as_before_may_have_others(page: Page, how: str) -> None:
    open_photos(page, 1, 2)

    page.evaluate("() => { window.numbers[1] = 3; }")
    gone = {"image_id": f"{2:08x}-0000-0000-0000-000000000000", "status": "deleted", "tags": []}
    hear(
        page,
        is_first=how == "begun anew",
        truncated=how == "more than is listed",
        changed=[gone] if how == "one is gone" else [],
    )

    expect(tile(page, 3)).to_be_visible()


def test_what_went_wrong_is_not_said_any_more_once_it_goes_well(page: Page) -> None:
    open_photos(page, 1, 2)
    strip = page.get_by_role("alert")
    page.evaluate("""() => {
      window.well = answers["GET /timeline"];
      answers["GET /timeline"] = { fails: 503, code: "unavailable" };
    }""")
    hear(page, truncated=True)
    expect(strip).to_be_visible()

    page.evaluate("() => { answers['GET /timeline'] = well; }")
    hear(page, truncated=True)

    expect(strip).to_have_count(0)


def test_a_month_that_comes_after_all_ends_the_word_of_its_trouble(page: Page) -> None:
    page.goto(f"{ORIGIN}/#/photos")
    page.add_style_tag(path=PAGES / "app" / "page.css")
    page.evaluate(_ARCHIVE, [MONTH, [1, 2]])
    page.evaluate(
        """(path) => {
          window.well = answers[path];
          answers[path] = { fails: 503, code: "unavailable" };
        }""",
        f"GET /timeline/{MONTH}",
    )
    page.evaluate("() => { import('/main.js'); }")
    strip = page.get_by_role("alert")
    expect(strip).to_be_visible()

    page.evaluate("(path) => { answers[path] = well; }", f"GET /timeline/{MONTH}")
    page.set_viewport_size({"width": 1000, "height": 700})

    expect(tile(page, 1)).to_be_visible()
    expect(strip).to_have_count(0)


def test_a_key_on_a_photo_of_a_month_that_was_forgotten_has_it_fetched_first(page: Page) -> None:
    open_photos(page, 1)

    revealed = page.evaluate("""async () => {
      const { listen } = await import("/steps.js");
      const list = document.createElement("div"), item = document.createElement("div");
      item.className = "tile";
      list.append(item);
      const seen = [];
      listen({ list, tiles: new Map([[7, { index: 7, item, anchor: item }]]), active: 7,
        rows: new Map(), reveal: async (to) => seen.push(to), onPick() {},
        timeline: { sections: [{ start: 5, count: 9 }], count: 9, sectionOf: () => 0,
          known: new Map() } });
      item.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
      await new Promise((done) => setTimeout(done));
      return seen;
    }""")

    assert revealed == [7]


def test_the_place_of_the_photo_before_is_not_shown_for_the_next_one(page: Page) -> None:
    open_photos(page, 1, 2)
    whole = {"tags": [], "arrived_at": "2026-02-01T00:00:00Z", "status": "tagged"}
    first, second = (f"{number:08x}-0000-0000-0000-000000000000" for number in (1, 9))
    give(page, {f"GET /images/{first}": {**whole, "image_id": first, "image_path": "1.jpg"}})
    give(page, {f"GET /images/{second}": {**whole, "image_id": second, "image_path": "9.jpg"}})
    page.evaluate("(id) => { location.hash = `#/photos/${id}`; }", first)
    expect(page.get_by_text("1 of 2")).to_be_visible()

    page.evaluate("(id) => { location.hash = `#/photos/${id}`; }", second)

    expect(page.get_by_role("heading", level=1)).to_have_text("9.jpg")
    expect(page.get_by_text("1 of 2")).to_have_count(0)
