"""Dialogs, commands, dates and titles, as small as they are."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.page.faked import call, faked_page, give, signed_in


@pytest.fixture(name="page_in_new_york")
def _page_in_new_york(browser: Browser) -> Iterator[Page]:
    with faked_page(browser, timezone="America/New_York") as page:
        yield page


def test_a_day_is_the_same_day_west_of_greenwich(page_in_new_york: Page) -> None:
    page = page_in_new_york
    signed_in(page)

    assert call(page, "words", "day", "2024-03-01") == "March 1, 2024"
    assert "Feb 29, 2024" in call(page, "words", "date", "2024-03-01T02:00:00Z")
    chips = page.evaluate("""async () => {
      const { render } = await import("/lit/lit-html.js");
      const { filterChips } = await import("/filters.js");
      const main = document.getElementById("main");
      render(filterChips({ from: "2024-03-01", to: "2024-03-03" }, () => {}), main);
      return [...main.querySelectorAll("li")].map((one) => one.innerText.trim());
    }""")
    assert chips == ["from March 1, 2024", "to March 2, 2024"]


def test_folders_are_asked_for_once_a_folder_and_not_once_a_key(page: Page) -> None:
    signed_in(page)
    give(page, {"GET /cameras": {"cameras": []}, "GET /stats": {"failures": []}})
    give(page, {"GET /folders": {"folders": []}})
    page.evaluate("() => { import('/filterform.js').then(({ askFilter }) => askFilter({})); }")

    page.get_by_label("Folder").press_sequentially("photos/scans")

    asked = page.evaluate("addressesOf('/folders').map((one) => one.address)")
    assert len(asked) == 2
    assert asked[1].endswith("under=photos")


def test_a_dialog_is_closed_by_a_click_beside_it_and_by_no_other(page: Page) -> None:
    signed_in(page)
    page.evaluate("""() => { import("/dialogs.js").then(({ openDialog }) => {
      openDialog("one", () => "a word");
      document.querySelector("dialog").style.padding = "40px";
    }); }""")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    box = dialog.bounding_box()
    assert box is not None
    left, middle = box["x"], box["y"] + box["height"] / 2

    page.mouse.click(left + 10, middle)
    page.mouse.move(left + 50, middle)
    page.mouse.down()
    page.mouse.move(left - 20, middle)
    page.mouse.up()
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    expect(dialog).to_be_visible()

    page.mouse.click(left - 20, middle)
    expect(dialog).to_have_count(0)


def test_a_command_to_send_webhooks_again_says_all_that_the_request_says(page: Page) -> None:
    signed_in(page)
    filter_ = {"state": "given_up", "host": "h.example", "from": "2026-01-01", "to": "2026-02-01"}
    page.evaluate(
        """(filter) => { import("/redeliver.js").then(({ redeliverDialog }) => {
          redeliverDialog(filter, () => {});
        }); }""",
        filter_,
    )

    page.get_by_role("button", name="API").click()

    expect(page.get_by_text("photo-archive deliveries redeliver")).to_have_text(
        "photo-archive deliveries redeliver --state given_up --host h.example --since 2026-01-01"
        " --until 2026-02-01 --limit 10000 --dry-run"
    )


def test_a_command_to_replay_dead_letters_names_the_group_that_set_them_aside(page: Page) -> None:
    signed_in(page)
    group = {"topic": "images.arrived.v1", "group": "tagging", "reason": "corrupt", "letters": 3,
             "newest_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    give(page, {"GET /dead-letters": {"groups": [group], "letters": [], "next": None}})
    page.evaluate(
        """async (group) => {
          const { render } = await import("/lit/lit-html.js");
          const { letterGroups } = await import("/letters.js");
          const draw = () => render(groups.view(), document.getElementById("main"));
          const groups = letterGroups(draw);
          groups.take([group]);
          draw();
        }""",
        group,
    )

    page.get_by_role("button", name="API").click()

    expect(page.get_by_text("photo-archive letters replay")).to_contain_text(
        "images.arrived.v1 --group tagging --reason corrupt"
    )


def test_the_inbox_shows_the_photo_of_an_answer_and_names_other_events_by_their_type(
    page: Page,
) -> None:
    signed_in(page)
    post: dict[str, Any] = {
        "at": "2026-01-01T00:00:00Z", "webhook_id": "w", "attempt_seen": 1, "body": "{}",
        "body_bytes": 2, "headers": [], "signature_ok": True, "answered": 200, "query_id": None,
    }  # fmt: skip
    posts = [
        {**post, "type": "query.completed", "image_id": "7"},
        {**post, "type": "target.paused"},
    ]
    box = {"url": "http://127.0.0.1/inbox/t", "posts": posts, "answer": {"kind": "ok"}}
    give(page, {"GET /inbox/t": box})
    page.evaluate("""async () => {
      answers["GET /session"].instance.standalone = true;
      await (await import("/api.js")).resume();
      const { open } = await import("/inbox.js");
      await open(document.getElementById("main"), { id: "t", params: new URLSearchParams() });
    }""")

    titles = page.locator("li.card p b")

    expect(titles).to_have_text(["photo found", "target.paused"])
    photo = page.get_by_role("img", name="The photo in it")
    expect(photo).to_have_attribute("src", "/images/7/thumb")


def test_groups_are_looked_for_on_some_pages_and_then_the_reader_says_whether_to_go_on(
    page: Page,
) -> None:
    signed_in(page)
    give(page, {"GET /duplicates": {"groups": [], "next": "c", "is_complete": True}})
    page.evaluate("""async () => {
      const { open } = await import("/duplicates.js");
      const params = new URLSearchParams("decided=true");
      await open(document.getElementById("main"), { params });
    }""")
    pages = "addressesOf('/duplicates').filter((one) => !one.address.includes('total=true'))"
    assert page.evaluate(f"{pages}.length") == 5
    assert page.evaluate(f"{pages}.every((one) => one.address.includes('limit=200'))")

    page.get_by_role("button", name="More groups").click()

    page.wait_for_function(f"{pages}.length === 10")


def test_a_typed_fault_of_the_labels_stays_when_a_rescoring_ends(page: Page) -> None:
    signed_in(page)
    label: dict[str, Any] = {"name": "cat", "aliases": [], "templates": [], "threshold": None}
    rescoring = {"is_done": False, "rescored": 0, "older": 1, "total": 1}
    now = {"labels": [label], "version": 1, "changed_at": "2026-01-01T00:00:00Z"}
    give(page, {"GET /labels": {**now, "rescoring": rescoring}})
    give(page, {"GET /tags": {"tags": []}, "GET /stats": {"statuses": {}}})
    page.evaluate("""async () => {
      const { open } = await import("/labels.js");
      await open(document.getElementById("main"));
    }""")
    page.get_by_role("button", name="As text").click()
    page.get_by_role("textbox").fill('cat\n{"name": ')
    page.wait_for_function("Boolean(window.stream?.heard.labels)")
    asked = page.evaluate("addressesOf('/labels').length")

    page.evaluate(
        "(news) => { say('hello', {}); say('labels', news); }",
        {**rescoring, "version": 1, "is_done": True},
    )
    page.wait_for_function("(before) => addressesOf('/labels').length > before", arg=asked)
    page.evaluate("() => new Promise((done) => setTimeout(done))")

    expect(page.get_by_role("textbox")).to_have_value('cat\n{"name": ')
