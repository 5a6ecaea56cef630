"""What a one-time link of somebody else's does to who is signed in."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.faked import ORIGIN


def follow_link(page: Page) -> None:
    """Open a one-time link of somebody else's as A."""
    page.goto(f"{ORIGIN}/#code=theirs")
    page.evaluate("""() => {
      answers["GET /session"].owner = "A";
      answers["POST /session"] = () => (asked.at(-1).body.leave
        ? { ...answers["GET /session"], owner: "B" } : { fails: 409, code: "signed_in_as_other" });
      answers["GET /queries"] = { queries: [], next: null };
      import("/main.js");
    }""")


@pytest.mark.parametrize("choice", ["leave", "stay"])
def test_nobody_becomes_somebody_else_by_a_link_unasked(page: Page, choice: str) -> None:
    follow_link(page)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("“A”")
    assert page.evaluate("location.hash") == ""

    dialog.get_by_role("button", name="Leave and enter" if choice == "leave" else "No").click()
    expect(page.locator("nav.places")).to_be_visible()

    sent = page.evaluate("asked.filter((one) => one.method === 'POST').map((one) => one.body)")
    if choice == "leave":
        assert sent == [{"code": "theirs"}, {"code": "theirs", "leave": True}]
        expect(page.locator("#toasts")).to_contain_text("Signed in as “B”.")
    else:
        assert sent == [{"code": "theirs"}]
        page.get_by_role("button", name="You and the settings").click()
        expect(page.locator("#account h2")).to_have_text("A")
        expect(page.locator(".toast")).to_have_count(0)
