"""Measure how soon the page shows what happened, on a whole archive that works.

    python -m benchmarks.viewing.news [--quick]

A photo that is tagged shows its chip; a stopped consumer is told of; a webhook's countdown is that
of its row; many files at once are taken without the browser growing. No page is loaded again.
"""

import os
import re
import signal
import tempfile
import time
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Browser, Locator
from rich.console import Console
from rich.table import Table

from benchmarks.harness.report import goal, percentile
from benchmarks.harness.rows import run_alone
from benchmarks.viewing.watching import Watched
from tests.e2e.page.browsing import open_browser, visit
from tests.e2e.page.peopled import PeopledArchive, peopled_archive
from tests.fakes.pictures import jpeg

FILES, QUICK_FILES = 500, 60
PHOTOS, QUICK_PHOTOS = 20, 5
GROWS = re.compile("grows|stopped|no word|not moving")


def chips(browser: Browser, peopled: PeopledArchive, count: int) -> list[float]:
    """Return the seconds from the commit of a photo's tags until its chip is on the page."""
    waits = []
    with visit(browser, peopled.url) as seen:
        seen.page.goto(peopled.link("admin"))
        seen.page.locator(".tile").first.wait_for()
        for number in range(count):
            files = {"file": (f"news-{number}.jpg", jpeg(1000 + number))}
            with peopled.client("admin") as client:
                sent = client.post("/images/upload", files=files).json()
            image_id = sent["images"][0]["image_id"]
            chip = seen.page.locator(f".tile:has(a[href*='{image_id}']) .chip b", has_text="%")
            chip.wait_for()
            shown_at = time.time()
            with peopled.client("admin") as client:
                tagged = client.get(f"/images/{image_id}").json()["tagged_at"]
            waits.append(shown_at - datetime.fromisoformat(tagged).timestamp())
    return waits


def outage(browser: Browser, peopled: PeopledArchive) -> float:
    """Return the seconds from stopping the tagging process until the pipeline says so in words."""
    with visit(browser, peopled.url) as seen:
        seen.page.goto(peopled.link("admin"))
        seen.page.locator("nav.places").wait_for()
        seen.page.evaluate("location.hash = '#/pipeline'")
        seen.page.locator("#main h1").wait_for()
        pids = peopled.archive.pids()
        stopped = [pid for name, pid in pids.items() if name.startswith("tagging")]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            with peopled.client("admin") as client:
                client.post("/images/upload", files={"file": ("late.jpg", jpeg(7))})
            _in_words(seen.page.locator("#main")).wait_for()
            return time.monotonic() - began
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


def _in_words(place: Locator) -> Locator:
    return place.locator("tr", has_text=GROWS).first


def countdown(browser: Browser, peopled: PeopledArchive) -> float:
    """Return by how many seconds the countdown on the page differs from the row's due time."""
    with visit(browser, peopled.url) as seen, peopled.client("full") as client:
        seen.page.goto(peopled.link("full"))
        seen.page.locator("nav.places").wait_for()
        seen.page.evaluate(f"location.hash = '#/queries/{peopled.failing_query}'")
        shown = seen.page.locator("li.next time")
        shown.wait_for()
        due = client.get(f"/queries/{peopled.failing_query}").json()["deliveries"][0]["next_at"]
        told = shown.get_attribute("datetime") or ""
        return abs((datetime.fromisoformat(told) - datetime.fromisoformat(due)).total_seconds())


def many_files(browser: Browser, peopled: PeopledArchive, count: int) -> tuple[float, float]:
    """Return by how many MB the heap grew over an upload of many files, and files per second."""
    with tempfile.TemporaryDirectory() as name, visit(browser, peopled.url) as seen:
        files = [Path(name) / f"{number}.jpg" for number in range(count)]
        for number, file in enumerate(files):
            file.write_bytes(jpeg(2000 + number))
        watched = Watched.of(seen.page)
        seen.page.goto(peopled.link("admin"))
        seen.page.locator(".tile").first.wait_for()
        before = watched.heap_mb()
        with seen.page.expect_file_chooser() as chosen:
            seen.page.get_by_role("button", name="Upload").first.click()
        began = time.monotonic()
        chosen.value.set_files(files)
        seen.page.get_by_text(re.compile(f"done: {count}")).first.wait_for()
        took = time.monotonic() - began
        return watched.heap_mb() - before, count / took


def measure(*, quick: bool) -> None:
    """Measure, print the table and the goals."""
    files, photos = (QUICK_FILES, QUICK_PHOTOS) if quick else (FILES, PHOTOS)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_browser() as browser,
        peopled_archive(Path(folder)) as peopled,
    ):
        waits = chips(browser, peopled, photos)
        off = countdown(browser, peopled)
        grown, rate = many_files(browser, peopled, files)
        told = outage(browser, peopled)
    table = Table(title="From what happened to the page")
    for column in ("what", "median", "worst"):
        table.add_column(column)
    table.add_row("tags committed → chip, s", f"{percentile(waits, 0.5):.2f}", f"{max(waits):.2f}")
    table.add_row(f"upload of {files} files, files/s", f"{rate:.0f}", "")
    Console(width=100).print(table)
    goal("tags committed → chip, worst", max(waits), 1.0, unit="s", at_most=True)
    goal("countdown off by", off, 1.0, unit="s", at_most=True)
    goal("heap growth over many files", grown, 60, unit="MB", at_most=True)
    goal("a stopped consumer is told of", told, 15, unit="s", at_most=True)


if __name__ == "__main__":
    run_alone(measure)
