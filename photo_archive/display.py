"""The display at a terminal: progress during a run, a summary at its end."""

import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from photo_archive.following import JobStanding
from photo_archive.running import print_json
from producers.folders.directory import Refusal, Tally

NAMES_PER_REASON = 20


class RunDisplay:
    """Bars for what is published and what is tagged, with failures and images per second.

    Bars are shown only at a terminal; the summary is always printed.
    """

    def __init__(self, console: Console, *, follows: bool) -> None:
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._published = self._progress.add_task("published", total=None, note="")
        self._tagged = self._progress.add_task("tagged", total=None, note="", visible=follows)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show_published(self, tally: Tally) -> None:
        """Show how many photos Kafka has."""
        note = f"{tally.refused} failed" if tally.refused else ""
        self._progress.update(self._published, completed=tally.published, note=note)
        self._progress.update(self._tagged, total=tally.published)

    def finish_publishing(self, tally: Tally) -> None:
        """Show that no more is to be published."""
        self.show_published(tally)
        self._progress.update(self._published, total=tally.published)

    def show_tagged(self, standing: JobStanding) -> None:
        """Show how many images are tagged, or that PostgreSQL does not answer."""
        if not standing.is_known:
            self._progress.update(self._tagged, note="PostgreSQL does not answer")
            return
        rate = standing.tagged / max(time.monotonic() - self._started, 1e-9)
        failed = f", {standing.failed} failed" if standing.failed else ""
        self._progress.update(
            self._tagged, completed=standing.finished, note=f"{rate:.1f} images/s{failed}"
        )


def show_summary(
    console: Console, tally: Tally, standing: JobStanding | None, *, as_json: bool
) -> None:
    """Print what was done and, by reason and name, what was not."""
    if as_json:
        followed = {}
        if standing is not None:
            followed = {name: getattr(standing, name) for name in ("tagged", "failed", "deleted")}
        counts = {"published": tally.published, "refused": tally.refused, "skipped": tally.skipped}
        print_json({**counts, **followed, "refusals": tally.refusals})
    else:
        _print_summary(console, tally, standing)


def _print_summary(console: Console, tally: Tally, standing: JobStanding | None) -> None:
    parts = [f"{tally.published} published", *_followed(standing)]
    if tally.refused:
        parts.append(f"{tally.refused} not published")
    console.print(", ".join(parts))
    _print_counts(console, "skipped", tally.skipped)
    by_reason: dict[str, list[Refusal]] = defaultdict(list)
    for failure in tally.refusals:
        by_reason[failure.reason].append(failure)
    for reason, refusals in sorted(by_reason.items()):
        console.print(f"[red]{escape(reason)}[/red] ({len(refusals)})")
        for refusal in refusals[:NAMES_PER_REASON]:
            console.print(f"  {escape(refusal.path)}  [dim]{escape(refusal.detail)}[/dim]")
        if len(refusals) > NAMES_PER_REASON:
            console.print(f"  … and {len(refusals) - NAMES_PER_REASON} more")
    if tally.is_cut_short:
        console.print("Kafka did not answer: run the same command again to go on.")


def _followed(standing: JobStanding | None) -> list[str]:
    if standing is None:
        return []
    parts = [f"{standing.tagged} tagged", f"{standing.failed} failed to be tagged"]
    if standing.deleted:
        parts.append(f"{standing.deleted} stay deleted (--undelete brings them back)")
    return parts


def _print_counts(console: Console, title: str, counts: Mapping[str, int]) -> None:
    if counts:
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        console.print(f"{title}: " + ", ".join(f"{number} {name}" for name, number in ordered))
