"""Keys alone: how a person without a pointer gets about on the page."""

import re

from playwright.sync_api import Locator, Page, expect

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
_FOCUSED = """() => {
  const node = document.activeElement;
  const name = node.getAttribute("aria-label") ?? node.textContent.trim().slice(0, 40);
  return `${node.tagName} ${name}`;
}"""


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
        if any(one.evaluate("(it) => it === document.activeElement") for one in wanted.all()):
            focused = page.locator(":focus")
            assert focused.evaluate(_IS_SEEN), f"{role} {name} has the focus and is not seen"
            return focused
        page.keyboard.press("Tab")
        stops.append(page.evaluate(_FOCUSED))
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
