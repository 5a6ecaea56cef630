"""What single screens do where answers come late, fail, or are of something left behind."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ingress.routes.documents import PAGES
from tests.e2e.page.faked import ORIGIN, call, faked_page, give, signed_in

A, B, C, D = (f"00000000-0000-5000-8000-00000000000{n}" for n in "abcd")
_PHOTO: dict[str, Any] = {
    "status": "tagged", "tags": [], "arrived_at": "2026-01-01T00:00:00Z", "excluded": False,
}  # fmt: skip
_TIMELINE = {"total": 0, "is_exact": True, "months": []}


@pytest.fixture(name="page")
def _page(browser: Browser) -> Iterator[Page]:
    with faked_page(browser) as page:
        yield page


def photo(name: str, **more: Any) -> dict[str, Any]:
    return {"image_id": name, "image_path": f"{name}.jpg", **_PHOTO, **more}


def open_photo(page: Page) -> None:
    signed_in(page)
    give(page, {f"GET /images/{one}": photo(one) for one in (A, B)})
    give(page, {f"PATCH /images/{one}": {"image": photo(one, excluded=True)} for one in (A, B)})
    give(page, {"GET /timeline": _TIMELINE})
    page.evaluate(
        """async (id) => {
          const { open } = await import("/photo.js");
          const at = (id) => ({ screen: "photos", id, params: new URLSearchParams() });
          window.screen_ = await open(document.getElementById("main"), at(id));
          window.turn = (id) => screen_.update(at(id));
        }""",
        A,
    )


def test_an_undo_is_of_the_photo_that_was_changed_not_of_the_one_shown(page: Page) -> None:
    open_photo(page)
    page.get_by_role("button", name="Never an answer").click()
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    expect(undo).to_be_visible()

    page.evaluate("(id) => turn(id)", B)
    undo.click()

    page.wait_for_function("asked.filter((one) => one.method === 'PATCH').length === 2")
    patched = page.evaluate("asked.filter((one) => one.method === 'PATCH')")
    assert [one["address"] for one in patched] == [f"/images/{A}"] * 2
    assert [one["body"] for one in patched] == [{"excluded": True}, {"excluded": False}]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{B}.jpg")


def test_what_happened_to_a_photo_stands_in_its_order_with_the_time_between(page: Page) -> None:
    signed_in(page)
    given = photo(
        A, tagged_at="2026-01-01T00:00:04Z", updated_at="2026-01-02T00:00:04Z", model="ViT-B-32",
        error={"code": "truncated", "title": "half", "detail": "half"},
    )  # fmt: skip
    give(page, {f"GET /images/{A}": {**given, "status": "failed"}})
    page.evaluate(
        """async (id) => {
          const { open } = await import("/photo.js");
          await open(document.getElementById("main"), {
            screen: "photos", id, params: new URLSearchParams(),
          });
        }""",
        A,
    )

    steps = page.get_by_role("listitem").filter(has=page.locator("time"))
    expect(steps).to_contain_text(["arrived", "tagged by ViT-B-32 +4 s", "could not be read: "])


def test_a_change_that_is_refused_is_not_told_as_done(page: Page) -> None:
    open_photo(page)
    give(page, {f"PATCH /images/{A}": {"fails": 409, "code": "under_way"}})

    page.get_by_role("button", name="Never an answer").click()

    expect(page.locator("#toasts")).to_contain_text("under way")
    expect(page.locator(".toast")).to_have_count(1)


def test_a_photo_without_a_large_view_is_shown_by_its_file_then_not_at_all(page: Page) -> None:
    served = []
    page.on("request", lambda request: served.append(request.url))
    open_photo(page)

    expect(page.get_by_text("There is no picture to show.")).to_be_visible()

    pictures = [one.rpartition("/")[2].partition("?")[0] for one in served if A in one]
    assert pictures == ["thumb", "content"]


def test_an_explanation_of_the_photo_before_is_not_shown(page: Page) -> None:
    open_photo(page)
    page.evaluate(
        "(id) => { window.late = held(); answers[`GET /images/${id}/explain`] = late.promise; }", A
    )
    page.get_by_label("search words").fill("cat")
    page.get_by_role("button", name="Explain").click()
    page.wait_for_function("asked.some((one) => one.address.includes('explain'))")

    page.evaluate("(id) => turn(id)", B)
    page.evaluate(
        """async (id) => {
          late.release({ image_id: id, is_found: true, score: 1, terms: [], words: [],
            reasons: [], missing: [], best: null });
          await late.promise;
          await new Promise((done) => setTimeout(done));
        }""",
        A,
    )

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{B}.jpg")
    expect(page.get_by_text("found by these words")).to_have_count(0)


def label(name: str) -> dict[str, Any]:
    return {"name": name, "aliases": [], "templates": [], "threshold": None}


def open_labels(page: Page) -> None:
    signed_in(page)
    now = {"labels": [label("cat")], "version": 1, "changed_at": "2026-01-01T00:00:00Z",
           "rescoring": {"is_done": True, "rescored": 0, "older": 0, "total": 0}}  # fmt: skip
    give(page, {"GET /labels": now, "GET /tags": {"tags": []}, "GET /stats": {"statuses": {}}})
    page.evaluate("""async () => {
      const { open } = await import("/labels.js");
      window.screen_ = await open(document.getElementById("main"));
    }""")
    page.get_by_role("button", name="As text").click()
    page.get_by_role("textbox").fill("cat\ndog")


def test_a_preview_of_labels_that_were_changed_meanwhile_is_not_shown(page: Page) -> None:
    open_labels(page)
    page.evaluate(
        "() => { window.late = held(); answers['POST /labels/preview'] = () => late.promise; }"
    )
    page.get_by_role("button", name="Preview").click()
    page.wait_for_function("addressesOf('/labels/preview').length === 1")

    page.get_by_role("textbox").fill("cat\ndog\nbird")
    page.evaluate("""async () => {
      late.release({ state: "done", outcome: { images: 7, changed: 7, changed_best: 7,
        labels: [], examples: [] } });
      await new Promise((done) => setTimeout(done));
    }""")

    expect(page.get_by_text("In a sample of")).to_have_count(0)
    expect(page.get_by_role("button", name="Preview")).to_be_enabled()


def test_that_others_changed_the_labels_is_said_until_the_experiment_ends(page: Page) -> None:
    open_labels(page)
    rescoring = {"is_done": False, "rescored": 0, "older": 1, "total": 1}
    warning = page.get_by_text("Somebody else has changed the labels")

    page.evaluate(
        """(rescoring) => {
          Object.assign(answers["GET /labels"], { version: 2, rescoring });
          say("labels", { version: 2, ...rescoring });
        }""",
        rescoring,
    )
    expect(warning).to_be_visible()
    asked = page.evaluate("addressesOf('/labels').length")
    page.evaluate(
        "(news) => say('labels', { version: 2, ...news })", {**rescoring, "is_done": True}
    )
    page.wait_for_function("(before) => addressesOf('/labels').length > before", arg=asked)

    page.evaluate("() => new Promise((done) => setTimeout(done))")
    expect(warning).to_be_visible()
    page.get_by_role("button", name="Discard").click()
    expect(warning).to_have_count(0)


def test_what_is_no_date_is_shown_as_it_stands(page: Page) -> None:
    signed_in(page)

    assert call(page, "words", "day", "0000:00:00 00:00:00") == "0000:00:00 00:00:00"
    assert call(page, "filters", "lastDay", "yesterday") == "yesterday"
    assert call(page, "filters", "lastDay", "2024-03-01") == "2024-02-29"


def narrow(page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    for name in ("page.css", "work.css"):
        page.add_style_tag(path=PAGES / "app" / name)


def test_a_long_state_is_no_wider_than_a_narrow_screen(page: Page) -> None:
    signed_in(page)
    narrow(page)

    page.evaluate("""async () => {
      const { render } = await import("/lit/lit-html.js");
      const { mark } = await import("/marks.js");
      const word = "given up: all attempts are used up, the receiver never answered";
      render(mark("bad", "■", word), document.getElementById("main"));
    }""")

    main = page.locator("#main")
    assert main.evaluate("(node) => node.scrollWidth - node.clientWidth") == 0


def test_the_places_stand_on_one_line_each_in_russian_too(page: Page) -> None:
    page.goto(f"{ORIGIN}/")
    page.evaluate("localStorage.setItem('language', 'ru')")
    page.goto(f"{ORIGIN}/#/queries")
    give(page, {"GET /queries": {"queries": [], "next": None}})
    page.evaluate("() => { import('/main.js'); }")
    expect(page.locator("nav.places")).to_be_visible()
    narrow(page)

    lines = page.locator("nav.places a span").evaluate_all(
        "(all) => all.map((one) => Math.round("
        "one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight)))"
    )

    assert lines == [1] * 5


def open_labels_with(page: Page, *photos: str) -> None:
    """Open the labels as somebody does who has chosen photos to teach one."""
    signed_in(page)
    now = {"labels": [label("cat")], "version": 1, "changed_at": "2026-01-01T00:00:00Z",
           "rescoring": {"is_done": True, "rescored": 0, "older": 0, "total": 0}}  # fmt: skip
    give(page, {"GET /labels": now, "GET /tags": {"tags": []}, "GET /stats": {"statuses": {}}})
    page.evaluate(
        """async (photos) => {
          const { open } = await import("/labels.js");
          const { link, placeOf } = await import("/routing.js");
          const place = placeOf(link("labels", null, { photo: photos }));
          window.screen_ = await open(document.getElementById("main"), place);
        }""",
        list(photos),
    )


def test_photos_that_were_chosen_teach_a_new_label(page: Page) -> None:
    open_labels_with(page, A, B, C, D)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("group", name="4 photos teach it")).to_be_visible()

    dialog.get_by_role("button", name="Without photo 2").press("Enter")
    expect(dialog.get_by_role("group", name="3 photos teach it")).to_be_visible()
    dialog.get_by_label("Name, as the tag is shown").fill("our dacha")
    dialog.get_by_label("only the photos count").check()
    dialog.get_by_role("button", name="Add to the experiment").click()
    page.get_by_role("button", name="Apply to").click()

    page.wait_for_function("asked.some((one) => one.method === 'PUT')")
    sent = page.evaluate("asked.find((one) => one.method === 'PUT').body")
    assert sent["labels"] == [
        {"name": "cat"},
        {"name": "our dacha", "photos": [A, C, D], "by_words": False},
    ]


def test_too_few_photos_are_refused_in_words(page: Page) -> None:
    open_labels_with(page, A, B)

    page.get_by_label("Name, as the tag is shown").fill("our dacha")
    page.get_by_role("button", name="Add to the experiment").click()

    expect(page.get_by_role("alert")).to_contain_text("2 photos: 3 to 10 teach a label.")


def test_a_name_that_looks_like_another_ones_is_taken(page: Page) -> None:
    open_labels_with(page, A, B, C)

    page.get_by_label("Name, as the tag is shown").fill("ＣＡＴ ")
    page.get_by_role("button", name="Add to the experiment").click()

    expect(page.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("count", [2, 3])
def test_chosen_photos_are_taken_to_the_labels_where_their_number_teaches(
    page: Page, count: int
) -> None:
    signed_in(page)
    page.evaluate(
        """async (ids) => {
          const { render } = await import("/lit/lit-html.js");
          const { bulkBar } = await import("/bulk.js");
          render(bulkBar({ choice: { picked: new Set(ids) }, timeline: { total: 9 } }),
            document.getElementById("main"));
        }""",
        [A, B, C][:count],
    )

    page.get_by_role("button", name="Teach a label from these").click()

    if count == 3:
        page.wait_for_function("location.hash.startsWith('#/labels?photo=')")
        assert page.evaluate("location.hash.match(/photo=/g).length") == 3
    else:
        expect(page.locator("#toasts")).to_contain_text("Choose 3 to 10 photos")
