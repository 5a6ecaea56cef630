"""The whole way of a newcomer through the page, in one go, with a real archive behind it."""

import re
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.e2e.page.browsing import PATIENCE_MS, Visit, visit
from tests.e2e.page.peopled import PeopledArchive
from tests.fakes.pictures import jpeg

LABEL = "bridge"


def test_from_the_link_to_a_decision_taken_back(
    browser: Browser, peopled: PeopledArchive, tmp_path: Path
) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    with visit(browser, peopled.url) as seen:
        enter(seen, peopled.link("admin"))
        upload(seen)
        search(seen, peopled)
        change_labels(seen)
        deliver(seen)
        decide(seen)
        seen.check()


def enter(seen: Visit, link: str) -> None:
    """By the link alone; neither the code nor a key stays anywhere."""
    seen.page.goto(link)
    seen.page.get_by_role("navigation", name="Places").wait_for()
    code = link.partition("#code=")[2]
    kept = seen.page.evaluate(
        "location.href + document.cookie + JSON.stringify({...localStorage, ...sessionStorage})"
    )
    assert code not in kept
    assert seen.page.evaluate("document.cookie") == "", "scripts can read a cookie"


def upload(seen: Visit) -> None:
    """Three photos; their tags come to the tiles without a reload."""
    page = seen.page
    page.evaluate("window.isSamePage = true")
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Upload").first.click()
    files = [FilePayload(name=f"{n}.jpg", mimeType="image/jpeg", buffer=jpeg(n)) for n in (41, 42)]
    chosen.value.set_files(files)
    expect(page.locator("#tray")).to_contain_text("your 2 photos are tagged")
    expect(page.locator(".tile .chip b").first).to_have_text(re.compile(r"\d+\s?%"))
    assert page.evaluate("window.isSamePage"), "the page was loaded again"


def has_cat(client: httpx.Client, image_id: str) -> bool:
    """Tell whether a photo was given the tag, however unsure."""
    return any(tag["tag"] == "cat" for tag in client.get(f"/images/{image_id}").json()["tags"])


def _as_shown(score: float) -> re.Pattern[str]:
    """Two digits, or more where two would say what is not so, such as 1.00."""
    return re.compile(f"{score:.2f}|{score:.3f}".replace(".", r"\."))


def search(seen: Visit, peopled: PeopledArchive) -> None:
    """The terms that are shown add up to the score that is shown, which is the API's."""
    page, text = seen.page, "кошки on the grass"
    page.get_by_role("searchbox", name="Search").fill(text)
    page.keyboard.press("Enter")
    with peopled.client("admin") as client:
        best = client.get("/images", params={"text": text}).json()["images"][0]
        without = next(
            image_id for image_id in peopled.images.values() if not has_cat(client, image_id)
        )
    first = page.locator(".search .hit").first
    expect(first).to_contain_text(_as_shown(best["score"]))
    assert abs(sum(term["score"] for term in best["terms"]) - best["score"]) < 1e-9
    for term in best["terms"]:
        expect(first).to_contain_text(_as_shown(term["score"]))
    page.get_by_role("button", name="Explain a photo…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("address or id of the photo").fill(without)
    dialog.get_by_role("button", name="Explain", exact=True).click()
    expect(dialog).to_contain_text("not found by these words")
    page.keyboard.press("Escape")


def change_labels(seen: Visit) -> None:
    """A label is tried, applied as a job, and taken away again."""
    page = seen.page
    page.get_by_role("link", name="Labels").click()
    page.get_by_role("button", name=re.compile("Add a label")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(re.compile("^Name")).fill(LABEL)
    dialog.get_by_role("button", name="Add to the experiment").click()
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".labels")).to_contain_text(LABEL)
    apply_and_wait(page)
    expect(row_of(page, LABEL)).to_be_visible()


def apply_and_wait(page: Page) -> None:
    """Apply the draft, and wait until the archive is scored anew."""
    page.get_by_role("button", name=re.compile("^Apply")).click()
    expect(page.get_by_role("button", name=re.compile("^Apply"))).to_have_count(0)
    expect(page.get_by_role("region", name="Tagging the photos anew")).to_have_count(0)


def row_of(page: Page, name: str) -> Locator:
    return page.locator("tr", has_text=name).first


def deliver(seen: Visit) -> None:
    """A webhook that fails says why it waits; told to answer, it is delivered at the next try."""
    page = seen.page
    page.goto(f"{seen.base_url}/#/inbox")
    page.get_by_role("radio", name=re.compile("^500")).check()
    form = page.locator("section.card", has_text="Ask").first
    form.get_by_label("What are you looking for?").fill("a cat")
    form.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("link", name=re.compile("[Ww]atch")).first.click()
    expect(page.locator("#main")).to_contain_text(
        re.compile("will try again|next attempt", re.IGNORECASE)
    )
    query = page.evaluate("location.hash")
    page.goto(f"{seen.base_url}/#/inbox")
    page.get_by_role("radio", name=re.compile("^200")).check()
    page.goto(f"{seen.base_url}/{query}")
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#main")).to_contain_text("delivered")


def decide(seen: Visit) -> None:
    """Two that are the same photo: both are kept, and that is taken back."""
    page = seen.page
    page.goto(f"{seen.base_url}/#/duplicates?level=same_photo")
    page.get_by_role("button", name="Keep all: not duplicates").click()
    expect(page.locator("#toasts")).to_contain_text("All kept")
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Keep all: not duplicates")).to_be_visible()


@pytest.mark.parametrize("key", ["stranger", "uploader"])
def test_who_has_nothing_is_told_what_to_do_next(
    browser: Browser, peopled: PeopledArchive, key: str
) -> None:
    with visit(browser, peopled.url, expects_errors=True) as seen:
        seen.page.goto(peopled.link(key))
        main = seen.page.locator("#main")
        words = {"stranger": "Drop photos here", "uploader": "Your key lacks the scope “read”"}

        expect(main).to_contain_text(words[key], timeout=PATIENCE_MS)


def test_tagging_leaves_a_thumbnail_before_anybody_asks_for_it(peopled: PeopledArchive) -> None:
    archive, content = peopled.archive, jpeg(83, size=(1200, 900))
    kept = "SELECT (SELECT content FROM thumbs WHERE sha256 = $1 AND size = 'small')"
    with peopled.client("full") as client:
        sent = client.post("/images/upload", files={"file": ("83.jpg", content)}).json()
        (image,) = sent["images"]
        archive.tags_of(image["image_id"], timeout_s=120)

        thumb = archive.wait_for(
            lambda: archive.value(kept, sha256(content).digest()), 60, "no thumbnail was kept"
        )

        shown = client.get(f"/images/{image['image_id']}/thumb")
        assert (shown.status_code, shown.content) == (200, thumb)
        with Image.open(BytesIO(thumb)) as small:
            assert (small.format, 256 <= small.height <= 400) == ("JPEG", True)
