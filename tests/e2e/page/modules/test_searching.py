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
