"""Entering the page by a link, and what is left of key and code in the browser."""

import json
import time
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from ingress.auth.sessions import LOOPBACK_COOKIE
from tests.e2e.archive import RunningArchive
from tests.e2e.page.browsing import PATIENCE_MS, Visit, visit
from tests.measured import Measured

#: All that a script of the page could find again later.
_KEPT = """async () => JSON.stringify({
  cookie: document.cookie,
  local: {...localStorage},
  session: {...sessionStorage},
  databases: await Promise.all((await indexedDB.databases()).map(({name}) => new Promise((done) => {
    const opening = indexedDB.open(name);
    opening.onsuccess = () => {
      const db = opening.result, names = [...db.objectStoreNames], rows = [];
      if (!names.length) return done({name, rows});
      const reading = db.transaction(names);
      for (const one of names) reading.objectStore(one).getAll().onsuccess = (event) =>
        rows.push(event.target.result);
      reading.oncomplete = () => done({name, rows});
    };
  }))),
  address: location.href,
  referrer: document.referrer,
  history: history.state,
})"""

#: What the page's own button does, in this tab.
_SIGN_OUT = """async () => {
  const {token} = await (await fetch("/session")).json();
  await fetch("/session", {method: "DELETE", headers: {"X-CSRF-Token": token}});
}"""


def link_of(archive: RunningArchive) -> dict[str, Any]:
    return archive.json_of(archive.command("link", "--json"))


def entered(page: Page) -> None:
    expect(page.locator("nav.places")).to_be_visible(timeout=PATIENCE_MS)


def addresses(seen: Visit) -> list[str]:
    """All addresses that the tab could go back to."""
    debugger = seen.context.new_cdp_session(seen.page)
    history = debugger.send("Page.getNavigationHistory")
    return [entry["url"] for entry in history["entries"]]


def test_a_link_enters_and_leaves_neither_key_nor_code_behind(
    browser: Browser, archive: RunningArchive
) -> None:
    made = link_of(archive)
    address, _, code = made["url"].partition("/#code=")
    with visit(browser, address) as seen:
        seen.go(f"#code={code}")
        entered(seen.page)

        kept = seen.page.evaluate(_KEPT)
        (cookie,) = seen.context.cookies()
        assert json.loads(kept)["cookie"] == ""
        assert cookie["name"] == LOOPBACK_COOKIE
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
        for secret in (code, archive.access.key, cookie["value"]):
            assert secret not in kept
            assert not [one for one in addresses(seen) if secret in one]
            assert secret not in archive.log("ingress", lines=10_000)
        assert seen.violations() == []
        assert seen.strange_requests == []


def test_a_link_that_was_used_says_so_and_asks_for_a_key(
    browser: Browser, archive: RunningArchive
) -> None:
    made = link_of(archive)
    address, _, code = made["url"].partition("/#code=")
    begun = httpx.post(f"{address}/session", json={"code": code}, timeout=60)
    assert begun.status_code == 200
    with visit(browser, address, expects_errors=True) as seen:
        seen.go(f"#code={code}")
        field = seen.page.locator("#key")
        expect(field).to_be_visible(timeout=PATIENCE_MS)
        expect(seen.page.get_by_role("alert")).to_be_visible()
        assert code not in seen.page.url

        field.fill(archive.access.key)
        field.press("Enter")
        entered(seen.page)

        assert archive.access.key not in seen.page.evaluate(_KEPT)
        assert not [one for one in addresses(seen) if archive.access.key in one]
        assert seen.violations() == []


def test_a_reload_and_another_tab_are_signed_in_too(
    browser: Browser, archive: RunningArchive
) -> None:
    made = link_of(archive)
    with visit(browser, made["url"].partition("/#code=")[0]) as seen:
        seen.page.goto(made["url"])
        entered(seen.page)
        seen.page.reload()
        entered(seen.page)
        other = seen.context.new_page()
        other.goto(f"{seen.base_url}/")
        entered(other)
        assert seen.violations() == []
        assert seen.strange_requests == []


@pytest.mark.parametrize("end", ["signed out", "key revoked"])
def test_the_end_of_a_session_ends_all_its_tabs(
    browser: Browser, archive: RunningArchive, measured: Measured, end: str
) -> None:
    key = archive.json_of(archive.command("keys", "create", "--owner", "guest", "--json"))
    made = archive.json_of(archive.command("link", key["key_id"], "--json"))
    with visit(browser, archive.supervisor.ingress_url, expects_errors=True) as seen:
        seen.page.goto(made["url"])
        entered(seen.page)
        others = [seen.context.new_page() for _ in range(2)]
        for other in others:
            other.goto(f"{seen.base_url}/")
            entered(other)

        if end == "key revoked":
            assert archive.command("keys", "revoke", key["key_id"]).returncode == 0
        else:
            seen.page.evaluate(_SIGN_OUT)
        began = time.monotonic()
        for other in others:
            expect(other.locator("#key")).to_be_visible(timeout=PATIENCE_MS)
        measured(f"{end}: two tabs asked for a key after {time.monotonic() - began:.1f} s (15)")
        assert not [page.url for page in others if "code=" in page.url]
