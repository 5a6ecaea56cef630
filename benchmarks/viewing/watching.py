"""What a browser notices while somebody looks at the page: long tasks, paints, bytes, memory."""

import re
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import CDPSession, Page

_OBSERVE = """
window.seen = { tasks: [], paint: 0, shift: 0, frames: [] };
new PerformanceObserver((list) => list.getEntries().forEach((one) => seen.tasks.push(one.duration)))
  .observe({ type: "longtask", buffered: true });
new PerformanceObserver((list) => { seen.paint = list.getEntries().at(-1).startTime; })
  .observe({ type: "largest-contentful-paint", buffered: true });
new PerformanceObserver((list) => list.getEntries().forEach((one) => {
  if (!one.hadRecentInput) seen.shift += one.value;
})).observe({ type: "layout-shift", buffered: true });
"""


@dataclass(slots=True)
class Watched:
    """A page with what is noticed of it since it was opened.

    Attributes:
        received: bytes over the wire, by the path of each answer, in the order of their ends.
        contents: the same without the answers' heads.
    """

    page: Page
    session: CDPSession
    received: list[tuple[str, int]] = field(default_factory=list)
    contents: list[tuple[str, int]] = field(default_factory=list)
    _begun_ones: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, page: Page) -> "Watched":
        """Begin to watch a page that has not been opened yet."""
        session = page.context.new_cdp_session(page)
        watched = cls(page, session)
        page.add_init_script(_OBSERVE)
        # Playwright sets attributes on the object of bound methods, and this one has slots.
        session.on("Network.responseReceived", lambda event: watched._begun(event))  # noqa: PLW0108
        session.on("Network.loadingFinished", lambda event: watched._ended(event))  # noqa: PLW0108
        session.send("Network.enable")
        session.send("Performance.enable")
        return watched

    def throttle(self, times: float) -> None:
        """Make the processor look so many times slower."""
        self.session.send("Emulation.setCPUThrottlingRate", {"rate": times})

    def longest_task_ms(self) -> float:
        """Return the longest task of the main thread since the last call, or since the opening.

        The browser notes tasks from 50 ms; without one the figure is 0.
        """
        longest: float = self.page.evaluate("Math.max(0, ...seen.tasks.splice(0))")
        return longest

    def largest_paint_ms(self) -> float:
        """Return the time from the opening to the largest contentful paint."""
        found: float = self.page.evaluate("seen.paint")
        return found

    def shift(self) -> float:
        """Return the sum of layout shifts that nobody caused."""
        found: float = self.page.evaluate("seen.shift")
        return found

    def own_files_bytes(self) -> int:
        """Return what the page's own files took as they were sent: without heads and lit-html."""
        own = (size for path, size in self.contents if re.match(r"/page/[^/]+/(?!lit/)", path))
        return sum(own)

    def forget(self) -> None:
        """Forget what was received so far."""
        self.received.clear()
        self.contents.clear()

    def heap_mb(self) -> float:
        """Return the live JavaScript heap, in MB, after a collection."""
        self.session.send("HeapProfiler.collectGarbage")
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        found = next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize")
        return float(found) / 1e6

    def _begun(self, event: dict[str, Any]) -> None:
        response = event["response"]
        url = response["url"].partition("://")[2]
        head = int(response["encodedDataLength"])
        self._begun_ones[event["requestId"]] = ("/" + url.partition("/")[2], head)

    def _ended(self, event: dict[str, Any]) -> None:
        path, head = self._begun_ones.pop(event["requestId"], ("", 0))
        size = int(event["encodedDataLength"])
        self.received.append((path, size))
        self.contents.append((path, max(0, size - head)))
