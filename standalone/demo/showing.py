"""Tables and lines of the demo at the terminal."""

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from standalone.demo.receiver import Callback
from standalone.supervision.supervisor import Supervisor

SHOWN_PHOTOS = 60
LOG_WIDTH = 160


@dataclass(slots=True)
class Stopwatch:
    """Prints messages with the seconds since the start."""

    console: Console
    began: float

    def say(self, message: str) -> None:
        """Print a line with the time that has passed."""
        self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {message}")

    def say_plainly(self, message: str) -> None:
        """Print so what may hold anything: brackets are no markup, further lines follow as is."""
        self.say(escape(message))


def console() -> Console:
    """Return a console as wide as the terminal; in a file it is wide enough for whole paths."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = LOG_WIDTH
    return console


def show_ways_in(console: Console, url: str, link: str, shell_file: Path) -> None:
    """Tell how to reach the archive; where there is no link, how to make one."""
    signs_in = "signs you in, once and within ten minutes; photo-archive link makes another."
    page = f"[bold]{link}[/bold]\n  {signs_in}" if link else f"{url} (photo-archive link signs in)"
    console.print(
        f"\nThe page: {page}\n"
        f"Every route: {url}/docs\n"
        f"In another terminal:  [bold]. {shlex.quote(str(shell_file))}[/bold]\n"
        "  gives you URL, KEY, ADMIN (a key that may do everything), WEBHOOK_SECRET, the settings\n"
        "  of this archive, and photo-archive and python in PATH.\n"
        "Ctrl-C stops it; what was tagged is there again at the next start.",
        soft_wrap=True,  # what is to be copied stands on one line
    )


def progress(console: Console) -> Progress:
    """Return the bar of a run."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def show_photos(console: Console, images: Sequence[dict[str, Any]]) -> None:
    """Show the first photos with their tags."""
    table = Table(title="Photos and their tags", title_justify="left")
    table.add_column("photo")
    table.add_column("tags, best first")
    for image in sorted(images, key=lambda shown: str(shown["image_path"]))[:SHOWN_PHOTOS]:
        table.add_row(str(image["image_path"]), _said_of(image))
    console.print(table)


def _said_of(image: Mapping[str, Any]) -> str:
    if error := image.get("error"):
        return f"[red]{error['detail']}[/red]"
    tags = image["tags"]
    if tags == []:  # by `threshold`, or taken away by hand
        return "[dim]no tag: none of the labels fits[/dim]"
    return "  ".join(f"{tag['tag']} {tag['score']:.2f}" for tag in tags or ())


def show_answers(
    console: Console, questions: Sequence[str], callbacks: Sequence[Callback | None]
) -> None:
    """Show what was asked, and what came."""
    table = Table(title="Answers, received and verified", title_justify="left")
    for column in ("question", "answer", "because", "picture"):
        table.add_column(column, overflow="fold")  # names are to be copied whole
    for question, callback in zip(questions, callbacks, strict=True):
        if callback is None:
            table.add_row(question, "[red]no callback came[/red]", "", "")
            continue
        data = callback.body["data"]
        image = data.get("image")
        because = ", ".join(
            f"{'/'.join(tag['words'])} → {tag['tag']} {tag['score']:.2f}" for tag in data["matched"]
        )
        answer = image["path"] if image else str(callback.body["type"])
        if data.get("error"):
            because = f"[red]{data['error']['detail']}[/red]"
        table.add_row(question, answer, because, callback.picture.name if callback.picture else "")
    console.print(table)
    folders = {callback.picture.parent for callback in callbacks if callback and callback.picture}
    for folder in folders:
        console.print(f"received pictures: {folder}")


def show_processes(console: Console, supervisor: Supervisor) -> None:
    """Show what runs."""
    table = Table(title="Processes", title_justify="left")
    for column in ("process", "pid", "port", "memory", "restarts"):
        table.add_column(column)
    ports = supervisor.ports()
    for state in supervisor.states():
        memory = f"{state.memory_bytes / 2**20:.0f} MiB"
        port = ports.get(state.name, "")
        table.add_row(state.name, str(state.pid), port, memory, str(state.restarts))
    console.print(table)
