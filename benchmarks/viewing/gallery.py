"""Measure the gallery of a large archive: the first view, a month, the way to the oldest and back.

    python -m benchmarks.viewing.gallery [--quick]

The archive has 2,000,000 photos (quick: 200,000) with plausible dates, ratios and colours, which
share 200 thumbnails. Beside it the same photos as a plain list of tiles, as many as a page bears.
"""

import time
from collections.abc import Callable
from functools import partial

import httpx
from playwright.sync_api import Browser, Page
from rich.console import Console
from rich.table import Table

from benchmarks.harness.report import goal
from benchmarks.harness.rows import run_alone
from benchmarks.viewing.site import Site, gallery_site
from benchmarks.viewing.watching import Watched
from tests.e2e.page.browsing import Look, Visit, open_browser, visit

PHOTOS, QUICK_PHOTOS = 2_000_000, 200_000
PLAIN_PHOTOS = 20_000
#: As `tests/unit/ingress/test_page.py` counts them: compressed, without heads and lit-html.
MOST_OF_OWN_FILES_KB = 45
LOOKS = (
    Look(),
    Look(pixel_ratio=2.0),
    Look(pixel_ratio=3.0),
    Look(width=320, height=640),
)
#: What neighbours do: all tiles at once, in the natural size of their boxes.
_PLAIN = """
async (most) => {
  const ids = [];
  const { months } = await (await fetch("/timeline")).json();
  for (const { month, parts } of months) {
    for (let part = 0; part < parts && ids.length < most; part += 1) {
      const all = await (await fetch(`/timeline/${month}?part=${part}`)).arrayBuffer();
      const count = new DataView(all).getUint32(4, true);
      const taken = Math.min(count, most - ids.length);
      for (let at = 0; at < taken; at += 1) ids.push(new Uint8Array(all, 16 + at * 16, 16));
    }
  }
  const began = performance.now();
  const list = document.createElement("ol");
  list.style.cssText = "display: flex; flex-wrap: wrap; gap: 4px";
  for (const id of ids) {
    const tile = document.createElement("li");
    tile.style.cssText = "width: 240px; height: 180px; list-style: none";
    const name = [...id].map((one) => one.toString(16).padStart(2, "0")).join("");
    const src = `/images/${name}/thumb`;
    const shown = { width: 240, height: 180, alt: "", loading: "lazy", src };
    tile.append(Object.assign(document.createElement("img"), shown));
    list.append(tile);
  }
  document.body.replaceChildren(list);
  document.body.getBoundingClientRect();
  return performance.now() - began;
}
"""


def _opened(seen: Visit, link: str) -> Watched:
    watched = Watched.of(seen.page)
    seen.page.goto(link)
    seen.page.locator(".tile").first.wait_for()
    return watched


def first_view(browser: Browser, site: Site) -> None:
    """Measure opening the page for the second time: the server is warm, the browser has nothing."""
    for slower, bound in ((1.0, 1000.0), (4.0, 2500.0)):
        with visit(browser, site.url) as seen:
            watched = _opened(seen, site.link())
            seen.page.wait_for_load_state("networkidle")
            watched.forget()
            watched.throttle(slower)
            seen.page.goto("about:blank")
            seen.context.clear_cookies(name="nothing")  # the session stays
            watched.session.send("Network.clearBrowserCache")
            seen.page.goto(f"{site.url}/#/photos")
            seen.page.locator(".tile .chip:not([hidden])").first.wait_for()
            seen.page.wait_for_load_state("networkidle")
            name = "first view" if slower == 1 else f"first view, processor ÷ {slower:g}"
            goal(f"{name}, LCP", watched.largest_paint_ms(), bound, unit="ms", at_most=True)
            if slower == 1:
                whole = sum(size for _, size in watched.received) / 1000
                goal("first view, bytes", whole, 1000, unit="kB", at_most=True)
                own = watched.own_files_bytes() / 1000
                goal("the page's own files", own, MOST_OF_OWN_FILES_KB, unit="kB", at_most=True)
                goal("layout shift", watched.shift(), 0.05, unit="", at_most=True)


def months(site: Site) -> None:
    """Measure the timeline and every month of it, as the page asks for them."""
    headers = {"X-API-Key": site.key, "Accept-Encoding": "gzip"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=60, trust_env=False) as http:
        took, answer = _timed(lambda: http.get("/timeline"))
        goal("timeline", took * 1000, 300, unit="ms", at_most=True)
        all_took, sizes = [], []
        for month in answer.json()["months"]:
            for part in range(month["parts"]):
                path = f"/timeline/{month['month']}?part={part}"
                took, answer = _timed(partial(http.get, path))
                all_took.append(took * 1000)
                sizes.append(int(answer.headers["Content-Length"]) / 1000)
    goal("any month, bytes", max(sizes), 500, unit="kB", at_most=True)
    goal("any month, time", max(all_took), 300, unit="ms", at_most=True)


def _timed(ask: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    began = time.perf_counter()
    answer = ask()
    answer.raise_for_status()
    return time.perf_counter() - began, answer


def there_and_back(browser: Browser, site: Site, look: Look, table: Table) -> list[float]:
    """Go from the newest photo to the oldest and back.

    Returns:
        The longest task in ms, the most tiles alive, the heap in MB, 1 where both were reached.
    """
    with visit(browser, site.url, look) as seen:
        watched = _opened(seen, site.link())
        page = seen.page
        page.wait_for_load_state("networkidle")
        watched.longest_task_ms()
        tiles = _wander(page)
        page.locator(".scrub [tabindex='0'], .scrub [role=slider]").first.focus()
        page.keyboard.press("End")
        reached = _reaches(page, site.photos)
        tiles = max(tiles, page.locator(".tile").count())
        page.keyboard.press("Home")
        back = _reaches(page, 1)
        longest, heap = watched.longest_task_ms(), watched.heap_mb()
        row = (
            f"{look.width} px, {look.pixel_ratio:g} ×", "yes" if reached and back else "NO",
            f"{longest:.0f}", str(tiles), f"{heap:.0f}",
        )  # fmt: skip
        table.add_row(*row)
        print(*row, flush=True)  # the whole takes minutes
        return [longest, tiles, heap, float(reached and back)]


def _wander(page: Page) -> int:
    """Turn the wheel through some screens; return the most tiles that were alive."""
    most = 0
    page.mouse.move(100, 400)
    for _ in range(40):
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(50)  # as fast as a hand turns it
        most = max(most, page.locator(".tile").count())
    return most


def _reaches(page: Page, position: int) -> bool:
    """Tell whether the photo at a place of the timeline, from 1, comes into sight."""
    tile = page.locator(f".tile[aria-posinset='{position}']")
    try:
        tile.wait_for(timeout=15_000)
    except Exception:  # noqa: BLE001 - the figure is that it was not reached
        return False
    box, screen = tile.bounding_box(), page.viewport_size
    return bool(box and screen and -box["height"] <= box["y"] < screen["height"])


def plain_list(browser: Browser, site: Site, photos: int) -> tuple[float, float]:
    """Return the ms that a plain list of so many tiles stops the page for, and the heap in MB."""
    with visit(browser, site.url) as seen:
        watched = _opened(seen, site.link())
        seen.page.goto(f"{site.url}/docs/problems")
        stood: float = seen.page.evaluate(_PLAIN, photos)
        return stood, watched.heap_mb()


def measure(*, quick: bool) -> None:
    """Measure, print the tables and the goals."""
    photos = QUICK_PHOTOS if quick else PHOTOS
    with gallery_site(photos) as site, open_browser() as browser:
        months(site)
        first_view(browser, site)
        table = Table(title=f"{photos:,} photos: newest → oldest → newest")
        for column in ("screen", "reached", "longest task ms", "tiles alive", "heap MB"):
            table.add_column(column)
        found = [there_and_back(browser, site, look, table) for look in LOOKS]
        stood, heap = plain_list(browser, site, PLAIN_PHOTOS)
        table.add_row(
            f"plain list of {PLAIN_PHOTOS:,}", "yes", f"{stood:.0f}", f"{PLAIN_PHOTOS}",
            f"{heap:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)
    goal(
        "oldest photo reached, of screens", sum(one[3] for one in found), 4, unit="", at_most=False
    )
    goal("longest task", max(one[0] for one in found), 100, unit="ms", at_most=True)
    goal("tiles alive", max(one[1] for one in found), 400, unit="", at_most=True)
    goal("heap", max(one[2] for one in found), 120, unit="MB", at_most=True)


if __name__ == "__main__":
    run_alone(measure)
