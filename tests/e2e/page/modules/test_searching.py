"""Search: what it says where nothing is found."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.faked import give, signed_in


def word(text: str, *tags: str, is_function: bool = False) -> dict[str, Any]:
    return {"text": text, "lemmas": [text], "tags": tags, "is_function": is_function}


@pytest.mark.parametrize(
    ("words", "says", "not_says"),
    [
        ([word("the", is_function=True)], "Words like these are skipped", "name labels"),
        ([word("cat", "cat")], "The words name labels", "recognise"),
        ([word("party", "party")], "can't recognise: party.", "skipped"),
        ([word("zebra")], "No label for: zebra.", "recognise"),
    ],
    ids=["skipped", "none has it", "the model does not know it", "no label"],
)
def test_the_reason_why_nothing_is_found_is_the_true_one(
    page: Page, words: list[dict[str, Any]], says: str, not_says: str
) -> None:
    signed_in(page)
    give(page, {"GET /lemmas": {"tokens": words, "matched": []}})
    give(page, {"GET /images": {"images": [], "next": None, "matched": []}})
    page.evaluate("""async () => {
      answers["GET /session"].instance.unknown_labels = ["party", "tent"];
      await (await import("/api.js")).resume();
      const { open } = await import("/search.js");
      const params = new URLSearchParams("text=words");
      await open(document.getElementById("main"), { screen: "search", params });
    }""")

    nothing = page.locator(".empty")
    expect(nothing).to_contain_text(says)
    expect(nothing).not_to_contain_text(not_says)


def test_a_photo_that_was_found_leads_on_through_what_was_found_and_back(page: Page) -> None:
    signed_in(page)
    found: list[dict[str, Any]] = [
        {"image_id": f"00000000-0000-5000-8000-00000000000{n}", "image_path": f"{n}.jpg",
         "status": "tagged", "excluded": False, "tags": [], "score": 0.5, "terms": [],
         "arrived_at": "2026-01-01T00:00:00Z"}
        for n in range(3)
    ]  # fmt: skip
    give(page, {"GET /lemmas": {"tokens": [word("cat", "cat")], "matched": []}})
    give(page, {"GET /images": {
        "images": found, "next": None, "matched": [], "total": {"images": 3, "is_exact": True},
    }})  # fmt: skip
    for one in found:
        give(page, {f"GET /images/{one['image_id']}": one})
        give(page, {f"GET /images/{one['image_id']}/similar": {"images": []}})
    give(page, {"GET /queries": {"queries": []}})
    page.evaluate("""async () => {
      await (await import("/api.js")).resume();
      const { open } = await import("/search.js");
      await open(document.getElementById("main"),
        { screen: "search", params: new URLSearchParams("text=cat") });
    }""")
    there = page.get_by_role("link", name="1.jpg").last.get_attribute("href")
    assert there is not None

    page.evaluate(
        """async (there) => {
          const { open } = await import("/photo.js");
          const [path, query] = there.split("?");
          await open(document.getElementById("main"),
            { screen: "photos", id: path.split("/").at(-1), params: new URLSearchParams(query) });
        }""",
        there,
    )

    expect(page.get_by_text("2 of 3")).to_be_visible()
    after = page.get_by_role("link", name="Next photo").get_attribute("href")
    assert after is not None
    assert found[2]["image_id"] in after
    expect(page.get_by_role("link", name="Search")).to_have_attribute("href", "#/search?text=cat")
