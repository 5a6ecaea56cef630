"""What the page does where answers come late, fail, or belong to something left behind."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.page.faked import ORIGIN, faked_page, give, signed_in

A = "00000000-0000-5000-8000-00000000000a"
_TIMELINE = {"total": 0, "is_exact": True, "months": []}


@pytest.fixture(name="page")
def _page(browser: Browser) -> Iterator[Page]:
    with faked_page(browser) as page:
        yield page


def begin(page: Page, place: str, answers: dict[str, Any]) -> None:
    """Start the shell at a place."""
    page.goto(f"{ORIGIN}/{place}")
    give(page, answers)
    page.evaluate("() => { import('/main.js'); }")
    expect(page.locator("nav.places")).to_be_visible()


def queries(*texts: str) -> dict[str, Any]:
    found = [
        {"query_id": text, "text": text, "state": "delivered", "attempts": 1} for text in texts
    ]
    return {"queries": found, "next": None}


def test_an_address_that_changes_while_its_screen_opens_is_followed(page: Page) -> None:
    page.goto(f"{ORIGIN}/#/queries")
    page.evaluate("() => { window.late = held(); answers['GET /queries'] = () => late.promise; }")
    page.evaluate("() => { import('/main.js'); }")
    page.wait_for_function("addressesOf('/queries').length === 1")

    page.evaluate("location.hash = '#/queries?state=delivered'")
    expect(page.get_by_role("heading", level=1)).to_have_text("Queries")
    page.evaluate("(answer) => late.release(answer)", queries("tabby"))

    page.wait_for_function("addressesOf('/queries').at(-1).address.includes('state=delivered')")


def test_a_query_left_before_its_answer_does_not_come_back(page: Page) -> None:
    page.goto(f"{ORIGIN}/#/queries/q1")
    page.evaluate("() => { window.late = held(); answers['GET /queries/q1'] = late.promise; }")
    give(page, {"GET /queries": queries("tabby")})
    page.evaluate("() => { import('/main.js'); }")
    page.wait_for_function("addressesOf('/queries/q1').length === 1")

    page.evaluate("location.hash = '#/queries'")
    expect(page.get_by_role("link", name="tabby")).to_be_visible()
    page.evaluate("() => late.release({ fails: 404, code: 'query_not_found' })")
    page.evaluate("() => new Promise((done) => setTimeout(done))")

    expect(page.get_by_role("heading", level=1)).to_have_text("Queries")
    expect(page.locator("#screens > section")).to_have_count(1)


@pytest.mark.parametrize("how", ["another place", "signed out elsewhere"])
def test_a_dialog_goes_with_the_screen_that_it_was_opened_on(page: Page, how: str) -> None:
    begin(page, "#/queries", {"GET /queries": queries("tabby")})
    expect(page.get_by_role("link", name="tabby")).to_be_visible()
    page.get_by_role("button", name="API").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()

    if how == "another place":
        page.evaluate("location.hash = '#/search'")
    else:
        give(page, {"GET /session": {"fails": 401, "code": "session_missing"}})
        page.evaluate("import('/api.js').then((api) => api.get('/session').catch(() => {}))")

    expect(page.get_by_role("dialog")).to_have_count(0)


def test_each_stream_begins_with_a_snapshot_also_where_the_browser_connects_again(
    page: Page,
) -> None:
    signed_in(page)

    seen = page.evaluate("""async () => {
      const { watch } = await import("/live.js");
      const seen = [];
      watch("queries", (data, { isSnapshot }) => seen.push(isSnapshot));
      await new Promise((done) => setTimeout(done));
      for (const event of ["hello", "queries", "queries", "hello", "queries"]) say(event, {});
      return seen;
    }""")

    assert seen == [True, False, True]


def test_photos_are_looked_at_again_after_the_stream_was_cut_one_look_at_a_time(
    page: Page,
) -> None:
    page.clock.install()
    begin(page, "#/photos", {"GET /timeline": _TIMELINE})
    page.wait_for_function("addressesOf('/timeline').length === 1")
    page.wait_for_function("Boolean(window.stream?.heard.images)")
    counts = {"accepted": 1, "tagged": 0}
    snapshot = {"changed": [], "truncated": False, "statuses": counts}
    page.evaluate("(data) => { say('hello', {}); say('images', data); }", snapshot)
    page.clock.run_for(5000)
    assert page.evaluate("addressesOf('/timeline').length") == 1

    page.evaluate("() => { window.late = held(); answers['GET /timeline'] = () => late.promise; }")
    page.evaluate("(data) => { say('hello', {}); say('images', data); }", snapshot)
    page.clock.run_for(5000)
    assert page.evaluate("addressesOf('/timeline').length") == 2

    for _ in range(3):
        page.evaluate("(data) => say('images', data)", {**snapshot, "truncated": True})
        page.clock.run_for(5000)
    assert page.evaluate("addressesOf('/timeline').length") == 2

    page.evaluate("(answer) => { late.release(answer); }", _TIMELINE)
    page.evaluate("() => new Promise((done) => queueMicrotask(done))")
    page.clock.run_for(5000)
    page.wait_for_function("addressesOf('/timeline').length === 3")


def test_the_list_is_read_again_after_the_stream_was_cut(page: Page) -> None:
    page.clock.install()
    one = {"image_id": A, "image_path": "a.jpg", "status": "accepted", "tags": None}
    months = [{"month": "2026-01", "images": 1, "mean_ratio": 1.3, "parts": 1}]
    begin(
        page,
        "#/photos?view=list",
        {
            "GET /timeline": {"total": 1, "is_exact": True, "months": months},
            "GET /images": {"images": [one], "next": None},
        },
    )
    row = page.locator(".photo-list tbody tr")
    expect(row).to_have_count(1)
    row.get_by_role("checkbox").focus()
    page.wait_for_function("Boolean(window.stream?.heard.images)")
    snapshot = {"changed": [], "truncated": False, "statuses": {"accepted": 1}}
    page.evaluate("(data) => { say('hello', {}); say('images', data); }", snapshot)
    page.clock.run_for(5000)

    tagged = {**one, "status": "tagged", "tags": [{"tag": "cat", "score": 0.9}]}
    give(page, {"GET /images": {"images": [tagged], "next": None}})
    page.evaluate("(data) => { say('hello', {}); say('images', data); }", snapshot)
    page.clock.run_for(5000)

    expect(row).to_contain_text("cat")
    expect(row.get_by_role("checkbox")).to_be_focused()


def test_a_photo_whose_file_became_another_one_is_shown_anew(page: Page) -> None:
    signed_in(page)

    shown = page.evaluate(
        """async (id) => {
          const { TileWords, loadPicture, makeTile, reloadPicture } = await import("/tiles.js");
          const words = new TileWords(() => {}), tile = makeTile(id, 0, 1), shown = [];
          const look = () => {
            tile.known = words.get(id);
            if (tile.image) reloadPicture(tile, false);
            else loadPicture(tile);
            shown.push(new URL(tile.image.src).search);
          };
          look();
          words.put([{ image_id: id, links: { thumb: `/images/${id}/thumb?v=aa` } }]);
          look();
          words.put([{ image_id: id, version: "aa", tags: [] }]);
          look();
          words.put([{ image_id: id, version: "bb", tags: [] }]);
          look();
          words.put([{ image_id: id, version: "bb", status: "tagged" }]);
          look();
          return shown;
        }""",
        A,
    )

    assert shown == ["", "", "", "?v=bb", "?v=bb"]


def test_a_hidden_tab_has_no_stream_and_begins_with_a_snapshot_when_it_is_seen(page: Page) -> None:
    begin(page, "#/queries", {"GET /queries": queries("tabby")})
    page.wait_for_function("Boolean(window.stream?.heard.queries)")
    snapshot = "() => { say('hello', {}); say('queries', { changed: [], truncated: false }); }"
    page.evaluate(snapshot)

    page.evaluate("""() => {
      window.before = stream;
      Object.defineProperty(document, "hidden", { configurable: true, get: () => window.isHidden });
      window.isHidden = true;
      document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.wait_for_function("before.readyState === EventSource.CLOSED")
    assert page.evaluate("stream === before"), "six connections are all that browsers have"
    asked = page.evaluate("addressesOf('/queries').length")
    page.evaluate("""() => {
      window.isHidden = false;
      document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.wait_for_function("stream !== before && Boolean(stream.heard.queries)")
    page.evaluate(snapshot)
    page.wait_for_function("(asked) => addressesOf('/queries').length > asked", arg=asked)


def test_a_cut_stream_is_said_at_once_and_the_end_of_the_cut_too(page: Page) -> None:
    begin(page, "#/queries", {"GET /queries": queries("tabby")})
    lamp = page.get_by_role("link", name=re.compile("^Pipeline"))
    page.wait_for_function("Boolean(window.stream?.heard.queries)")
    page.evaluate("say('hello', {})")

    page.evaluate("() => { stream.readyState = 0; stream.onerror(); }")
    expect(lamp).to_contain_text("no contact")
    page.evaluate("() => { stream.readyState = 1; say('hello', {}); }")

    expect(lamp).not_to_contain_text("no contact")


def test_a_tab_whose_changes_are_held_still_learns_of_the_end_of_its_session(page: Page) -> None:
    page.clock.install()
    begin(page, "#/queries", {"GET /queries": queries("tabby")})
    page.evaluate("import('/live.js').then(({ pause }) => pause(true))")

    give(page, {"GET /session": {"fails": 401, "code": "session_missing"}})
    page.clock.run_for(15_000)

    expect(page.locator("#key")).to_be_visible()


@pytest.mark.parametrize(("owner", "sent"), [("me", ["t1", "t2"]), ("other", ["t1"])])
def test_a_change_takes_the_token_of_a_session_that_the_same_person_began_elsewhere(
    page: Page, owner: str, sent: list[str]
) -> None:
    signed_in(page)
    now = {"owner": owner, "key_id": "k1", "token": "t2", "scopes": [], "instance": {}}
    give(page, {"GET /session": now})
    page.evaluate("""() => {
      let tries = 0;
      answers["POST /x"] = () => (tries++ ? { done: true } : { fails: 403, code: "cross_site" });
    }""")

    page.evaluate("import('/api.js').then(({ send }) => send('POST', '/x')).catch(() => {})")

    posts = page.evaluate("asked.filter((one) => one.method === 'POST')")
    assert [one["headers"]["X-CSRF-Token"] for one in posts] == sent


def change(state: str) -> dict[str, Any]:
    return {"change_id": "c", "state": state, "changed": 3, "matches": 3, "would_change": 3,
            "is_exact": True}  # fmt: skip


def test_a_deletion_is_asked_for_at_once_and_waits_for_its_undo_at_the_archive(page: Page) -> None:
    many = [f"00000000-0000-5000-8000-{n:012d}" for n in range(5000)]  # more than outlives a page
    signed_in(page)
    give(page, {"POST /images/changes": change("waiting")})
    give(page, {"GET /images/changes/c": change("waiting")})
    give(page, {"POST /images/changes/c/undo": change("undone")})
    page.evaluate(
        """(ids) => { import("/bulk.js").then(({ apply }) => {
          apply({ ids }, { delete: true }, () => {});
        }); }""",
        many,
    )
    page.get_by_role("button", name="Delete").click()
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    expect(undo).to_be_visible()

    posts = page.evaluate("asked.filter((one) => one.method === 'POST')")
    assert [one["body"]["dry_run"] for one in posts] == [True, False]
    assert posts[1]["body"]["filter"]["ids"] == many
    assert posts[1]["body"]["delay_s"] >= 10

    undo.click()
    expect(page.locator("#toasts")).to_contain_text("Undone")
    assert page.evaluate("asked.at(-1).address") == "/images/changes/c/undo"


def test_what_waits_for_its_undo_stays_when_the_language_changes(page: Page) -> None:
    begin(page, "#/queries", {"GET /queries": queries("tabby")})
    page.evaluate("import('/parts.js').then(({ undoToast }) => undoToast('gone soon', () => {}))")

    page.get_by_role("button", name="You and the settings").click()
    page.get_by_role("button", name="Русский").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Запросы")
    expect(page.locator("#toasts")).to_contain_text("gone soon")


def test_a_fault_of_a_screen_is_not_called_an_archive_started_anew(page: Page) -> None:
    page.goto(f"{ORIGIN}/#/duplicates")
    give(page, {"GET /duplicates": {"groups": "none"}})
    page.evaluate("() => { import('/main.js'); }")

    expect(page.locator("#trouble [role=alert]")).to_contain_text("This page has a fault here")
