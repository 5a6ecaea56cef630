"""The whole way through the page without a pointer, from the link to the delivered query."""

import re

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.e2e.page.browsing import PATIENCE_MS, Visit, visit
from tests.e2e.page.peopled import PeopledArchive
from tests.e2e.page.test_journey import has_cat
from tests.fakes.pictures import jpeg

LABEL = "lighthouse"
#: Which nobody else asks in the same archive.
QUESTION = "a cat by night"
#: Stops of the key Tab on the way to something; beyond it people would give up, too.
MOST_STOPS = 120
_NO_POINTER = """
window.pointed = [];
for (const kind of ["pointerdown", "mousedown", "touchstart"]) {
  addEventListener(kind, (event) => event.isTrusted && window.pointed.push(kind), true);
}
"""
_IS_SEEN = """(node) => {
  const box = node.getBoundingClientRect();
  const x = box.left + Math.min(box.width / 2, 40), y = box.top + box.height / 2;
  const top = document.elementFromPoint(x, y);
  const isOver = Boolean(top) && (node.contains(top) || top.contains(node));
  return isOver || Boolean(top?.closest("label, li"));
}"""
_FOCUSED = """(wanted) => {
  const node = document.activeElement;
  const name = node.getAttribute("aria-label") ?? node.textContent.trim().slice(0, 40);
  return [wanted.includes(node), `${node.tagName} ${name}`];
}"""


def test_photos_are_looked_at_and_found_without_a_pointer(
    browser: Browser, peopled: PeopledArchive
) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    with visit(browser, peopled.url) as seen:
        without_pointer(seen.page)
        seen.page.goto(peopled.link("admin"))
        look_at_photos(seen.page)
        search(seen.page, peopled)
        check_no_pointer(seen.page)
        seen.check()


@pytest.mark.slow
def test_the_whole_journey_needs_no_pointer(browser: Browser, peopled: PeopledArchive) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    with visit(browser, peopled.url) as seen:
        without_pointer(seen.page)
        seen.page.goto(peopled.link("admin"))
        upload(seen.page)
        look_at_photos(seen.page)
        search(seen.page, peopled)
        decide(seen.page)
        change_labels(seen.page)
        deliver(seen)
        check_no_pointer(seen.page)
        seen.check()


def upload(page: Page) -> None:
    """Two photos; the focus stays where it was while they come and are tagged."""
    with page.expect_file_chooser() as chosen:
        press(page, "button", "Upload")
    files = [FilePayload(name=f"{n}.jpg", mimeType="image/jpeg", buffer=jpeg(n)) for n in (61, 62)]
    chosen.value.set_files(files)
    expect(page.locator("#tray")).to_contain_text("your 2 photos are tagged")
    expect(page.get_by_role("button", name="Upload").first).to_be_focused()


def look_at_photos(page: Page) -> None:
    """By arrows through the grid, into a photo, and back to the tile that it was opened from."""
    page.locator(".tile a[tabindex='0']").wait_for()
    while not page.locator(".tile a:focus").count():
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    third = page.locator(".tile[aria-posinset='3'] a")
    expect(third).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("region", name="Chosen photos")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    page.keyboard.press("Escape")
    expect(third).to_be_focused()


def search(page: Page, peopled: PeopledArchive) -> None:
    """By the key of the search; one photo that was not found is explained."""
    page.keyboard.press("/")
    page.keyboard.type("cats on the grass")
    page.keyboard.press("Enter")
    expect(page.locator(".search .hit").first).to_be_visible()
    press(page, "button", "Explain a photo…")
    with peopled.client("admin") as client:
        ids = peopled.images.values()
        without = next(image_id for image_id in ids if not has_cat(client, image_id))
    page.keyboard.type(without)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("not found by these words")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Explain a photo…")).to_be_focused()


def decide(page: Page) -> None:
    """Two that are the same photo: looked at side by side, both kept, and that taken back."""
    go_to(page, "Duplicates")
    tab_to(page, "tab", re.compile("Identical|same", re.IGNORECASE))
    page.keyboard.press("ArrowRight")
    press(page, "button", "Compare at full size")
    shown = page.get_by_role("dialog")
    expect(shown).to_be_visible()
    before = page.evaluate("location.hash")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == before
    page.keyboard.press("Escape")
    press(page, "button", "Keep all: not duplicates")
    expect(page.locator("#toasts")).to_contain_text("All kept")
    press(page, "button", "Undo")
    expect(page.get_by_role("button", name="Keep all: not duplicates")).to_be_visible()


def change_labels(page: Page) -> None:
    """A label is tried and dropped."""
    go_to(page, "Labels")
    press(page, "button", re.compile("Add a label"))
    write(page, "textbox", re.compile("^Name"), LABEL)
    page.keyboard.press("Enter")
    press(page, "button", "Preview")
    expect(page.get_by_text("In a sample of").or_(page.get_by_text(LABEL)).first).to_be_visible()
    press(page, "button", "Discard")
    expect(page.get_by_role("button", name="Discard")).to_have_count(0)


def deliver(seen: Visit) -> None:
    """A query whose receiver fails, then answers, is tried again by hand and delivered."""
    page = seen.page
    go_to(page, "Queries")
    press(page, "link", re.compile("[Ii]nbox"))
    choose_answer(page, "500")
    write(page, "textbox", "What are you looking for?", QUESTION)
    page.keyboard.press("Enter")
    press(page, "link", re.compile("[Ww]atch"))
    expect(page.locator("#main")).to_contain_text(re.compile("will try again", re.IGNORECASE))
    query = page.evaluate("location.hash")
    press(page, "link", "← Queries")
    press(page, "link", re.compile("[Ii]nbox"))
    choose_answer(page, "200")
    go_to(page, "Queries")
    press(page, "link", QUESTION)
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    assert page.evaluate("location.hash") == query
    press(page, "button", "Try now")
    expect(page.locator("#main")).to_contain_text("delivered")


def choose_answer(page: Page, kind: str) -> None:
    """By the arrows among the ways that the inbox can answer."""
    radios = page.get_by_role("group", name="From now on each POST gets").get_by_role("radio")
    expect(radios).to_have_count(6)
    tab_to(page, "radio", re.compile("^(200|500|410|slow|nothing|a redirect)"))
    wanted = page.get_by_role("radio", name=re.compile(f"^{kind}"))
    for _ in range(radios.count()):
        if wanted.is_checked():
            break
        page.keyboard.press("ArrowDown")
    expect(wanted).to_be_checked()
    expect(wanted).to_be_focused()
    expect(page.locator("fieldset[aria-busy=true]")).to_have_count(0)


def without_pointer(page: Page) -> None:
    """Note every press of a pointer from the next document on."""
    page.add_init_script(_NO_POINTER)


def check_no_pointer(page: Page) -> None:
    """Check that no pointer was pressed.

    Raises:
        AssertionError: one was.
    """
    assert page.evaluate("window.pointed") == []


def tab_to(page: Page, role: str, name: str | re.Pattern[str]) -> Locator:
    """Press Tab until a thing with this role and name has the focus, in sight.

    Raises:
        AssertionError: it cannot be reached, or is hidden when it is.
    """
    wanted = page.get_by_role(role, name=name)  # type: ignore[arg-type]  # of ARIA's
    expect(wanted.first).to_be_attached()
    stops = []
    for _ in range(MOST_STOPS):
        is_there, stop = wanted.evaluate_all(_FOCUSED)
        if is_there:
            focused = page.locator(":focus")
            assert focused.evaluate(_IS_SEEN), f"{role} {name} has the focus and is not seen"
            return focused
        stops.append(stop)
        page.keyboard.press("Tab")
    raise AssertionError(f"{role} {name} is not reached by Tab; stops were: {stops}")


def press(page: Page, role: str, name: str | re.Pattern[str], key: str = "Enter") -> None:
    """Go to a thing by Tab, and press a key on it."""
    tab_to(page, role, name)
    page.keyboard.press(key)


def write(page: Page, role: str, name: str | re.Pattern[str], text: str) -> None:
    """Go to a field by Tab, and type a text in place of what it has."""
    tab_to(page, role, name)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(text)


def go_to(page: Page, place: str) -> None:
    """Go to one of the five places by its link."""
    page.locator("body").press("Home")
    press(page, "link", re.compile(f"^{place}"))
    expect(page.get_by_role("heading", level=1)).to_have_text(place)
