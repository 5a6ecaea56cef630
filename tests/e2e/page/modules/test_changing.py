"""What changes of photos and their tags tell of themselves, and what undoing them does."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.faked import give, signed_in

A = "00000000-0000-5000-8000-00000000000a"
LATER = "2999-01-01T00:00:00Z"
_PHOTO: dict[str, Any] = {
    "image_id": A, "image_path": "a.jpg", "status": "tagged", "excluded": False, "tags": [],
    "arrived_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


def change(state: str, **more: Any) -> dict[str, Any]:
    return {"change_id": "c", "state": state, "changed": 3, "failed": 0, "error": None,
            "change": {"excluded": True}, "created_at": "2026-01-01T00:00:00Z",
            "can_undo_until": LATER, **more}  # fmt: skip


def archive(page: Page, begun: dict[str, Any]) -> None:
    signed_in(page)
    page.evaluate(
        """(begun) => {
          answers["POST /images/changes"] = () => (asked.at(-1).body.dry_run
            ? { matches: 3, would_change: 3, is_exact: true } : begun);
        }""",
        begun,
    )


def begin(page: Page, change: dict[str, Any]) -> None:
    page.evaluate(
        """(change) => { import("/bulk.js").then(({ apply }) => {
          apply({ ids: ["x"] }, change, (made, { state }) => {
            window.after = state;
            (window.ended ??= []).push(state);
          });
        }); }""",
        change,
    )


@pytest.mark.parametrize(
    ("undone", "told"),
    [
        (change("failed", error="the tag is no label"), "the tag is no label"),
        (change("undone", failed=2), "Undone. Left alone, since changed again: 2."),
    ],
    ids=["failed", "left alone"],
)
def test_an_undo_tells_what_became_of_it(page: Page, undone: dict[str, Any], told: str) -> None:
    archive(page, change("done"))
    give(page, {"POST /images/changes/c/undo": change("undoing")})
    give(page, {"GET /images/changes/c": undone})
    begin(page, {"excluded": True})

    page.locator("#toasts").get_by_role("button", name="Undo").click()

    page.wait_for_function("(state) => window.after === state", arg=undone["state"])
    expect(page.locator("#toasts")).to_have_text(told)


def test_what_failed_on_the_way_can_be_undone(page: Page) -> None:
    archive(page, change("failed", error="the disk is full"))

    begin(page, {"excluded": True})

    toast = page.locator(".toast").filter(has_text="the disk is full")
    expect(toast.get_by_role("button", name="Undo")).to_be_visible()


def test_a_change_that_is_undone_while_it_runs_is_not_reported_as_done(page: Page) -> None:
    archive(page, change("running"))
    give(page, {"GET /images/changes/c": change("undone")})
    begin(page, {"excluded": True})
    page.wait_for_function("asked.some((one) => one.body?.dry_run === false)")

    give(page, {"POST /images/changes": change("running", change_id="d", would_change=3)})
    give(page, {"GET /images/changes/d": change("done", change_id="d", changed=7)})
    begin(page, {"excluded": True})  # ends behind the first one

    expect(page.locator(".toast").filter(has_text="7")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(1)
    assert page.evaluate("ended") == ["done"]


def test_a_deletion_that_is_undone_elsewhere_offers_no_undo_any_more(page: Page) -> None:
    archive(page, change("waiting", change={"delete": True}))
    give(page, {"GET /images/changes/c": change("waiting", change={"delete": True})})
    begin(page, {"delete": True})
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    undo.hover()  # as long as somebody points at it, it stays

    give(page, {"GET /images/changes/c": change("undone", change={"delete": True})})

    expect(undo).to_have_count(0)


def test_the_last_changes_can_be_undone_as_long_as_the_archive_takes_it(page: Page) -> None:
    signed_in(page)
    states = [("running", LATER), ("failed", LATER), ("done", LATER), ("undone", None)]
    changes = [change(state, can_undo_until=until) for state, until in states]
    give(page, {"GET /images/changes": {"changes": changes}})

    page.evaluate("() => { import('/bulk.js').then(({ recentChanges }) => recentChanges()); }")

    rows = page.get_by_role("dialog").get_by_role("listitem")
    expect(rows).to_have_count(4)
    for row, (state, until) in zip(rows.all(), states, strict=True):
        buttons = row.get_by_role("button", name="Undo")
        expect(buttons, state).to_have_count(0 if until is None else 1)


def test_how_long_a_deletion_can_be_undone_is_said_as_it_is(page: Page) -> None:
    archive(page, change("waiting", change={"delete": True}))
    give(page, {"GET /images/changes/c": change("waiting", change={"delete": True})})

    begin(page, {"delete": True})

    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("12 sec")
    dialog.get_by_role("button", name="Delete").click()
    page.wait_for_function("asked.some((one) => one.body?.dry_run === false)")
    assert page.evaluate("asked.find((one) => one.body?.dry_run === false).body.delay_s") == 12


def open_photo(page: Page, **more: Any) -> None:
    """Open a photo of an archive that keeps what is set by hand."""
    page.evaluate(
        """async (photo) => {
          const { id } = window.photo = { ...photo, id: photo.image_id };
          answers[`GET /images/${id}`] = () => window.photo;
          answers[`PATCH /images/${id}`] = async () => {
            const { tags } = asked.at(-1).body;
            await new Promise((done) => setTimeout(done, 50)); // a slow archive
            window.photo = { ...window.photo, tags, hand_tags: tags };
            return { image: window.photo };
          };
          const { open } = await import("/photo.js");
          await open(document.getElementById("main"),
            { screen: "photos", id, params: new URLSearchParams() });
        }""",
        {**_PHOTO, **more},
    )


def by_hand(*names: str) -> dict[str, Any]:
    tags = [{"tag": name, "score": 1} for name in names]
    return {"tags": tags, "hand_tags": tags}


def test_two_tags_by_hand_that_are_removed_at_once_are_both_gone(page: Page) -> None:
    signed_in(page)
    open_photo(page, **by_hand("cat", "dog", "boat"))

    page.evaluate("""() => {
      const buttons = [...document.querySelectorAll("[aria-label^='Remove ']")];
      for (const one of buttons.slice(0, 2)) one.click();
    }""")

    page.wait_for_function("asked.filter((one) => one.method === 'PATCH').length === 2")
    expect(page.locator(".toast").filter(has_text="dog")).to_be_visible()
    assert [one["tag"] for one in page.evaluate("photo.hand_tags")] == ["boat"]

    page.locator(".toast").filter(has_text="cat").get_by_role("button", name="Undo").click()
    page.wait_for_function("photo.hand_tags.length === 2")
    assert {one["tag"] for one in page.evaluate("photo.hand_tags")} == {"boat", "cat"}


@pytest.mark.parametrize("typed", ["dog", " Dog", "СОБАКА"])
def test_a_tag_is_added_to_those_by_hand_by_the_archive_not_by_what_the_page_knew(
    page: Page, typed: str
) -> None:
    archive(page, change("done", change={"add_tag": "dog"}))
    open_photo(page, **by_hand("cat"))
    names = [{"name": "dog", "aliases": ["puppy", "собака", "щенок"]}]
    page.evaluate("async (names) => (await import('/words.js')).setTagNames(names)", names)

    page.get_by_label("add a tag by hand").fill(typed)
    page.get_by_role("button", name="Add", exact=True).click()

    page.wait_for_function("asked.some((one) => one.body?.change?.add_tag === 'dog')")
    expect(page.locator("#toasts")).to_contain_text("Tag added")
    assert not page.evaluate("asked.some((one) => one.method === 'PATCH')")


def test_tags_that_people_changed_are_not_told_as_the_models(page: Page) -> None:
    signed_in(page)

    open_photo(page, tagged_at="2026-01-02T00:00:00Z", model="m", rejected_tags=["dog"])

    expect(page.locator(".thread")).to_contain_text("by m and by hand")


def test_of_a_photo_whose_file_is_gone_it_is_not_said_that_it_could_not_be_tagged(
    page: Page,
) -> None:
    signed_in(page)
    gone = {"code": "file_gone", "title": "The image could not be tagged", "detail": "file is gone"}

    open_photo(page, status="missing", error=gone, updated_at="2026-01-02T00:00:00Z")

    expect(page.locator(".chip").filter(has_text="file is gone")).to_be_visible()
    expect(page.locator(".strip")).to_have_count(0)


@pytest.mark.parametrize(("ended", "place"), [("undone", ""), ("done", "#/photos")])
def test_a_photo_is_left_where_it_was_deleted_and_not_where_that_was_undone(
    page: Page, ended: str, place: str
) -> None:
    archive(page, change("waiting", change={"delete": True}))
    give(page, {"POST /images/changes/c/undo": change("undone")})
    give(page, {"GET /images/changes/c": change("waiting")})
    open_photo(page)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    expect(undo).to_be_visible()

    if ended == "undone":
        give(page, {"GET /images/changes/c": change("undone")})
        undo.click()
        expect(page.locator("#toasts")).to_contain_text("Undone.")
    else:
        give(page, {"GET /images/changes/c": change("done")})
        expect(page.locator("#toasts")).to_contain_text("Deleted photos: 3.")

    page.wait_for_function("(place) => location.hash === place", arg=place)
