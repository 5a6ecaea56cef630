"""The demo: the main job from nothing to a received callback, on this machine.

Starts the servers and all roles, tags photos, asks a question in English and one in Russian,
receives the signed answers, and shows what came of it. Speaks HTTP only, as any user does.
"""

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from core.errors import ConfigurationError
from standalone.demo.archive_client import (
    ArchiveClient,
    Credentials,
    admin_key,
    credentials,
    settled,
)
from standalone.demo.photos import copy_free_photos
from standalone.demo.receiver import Callback, CallbackReceiver
from standalone.remembered_roots import place_of
from standalone.shell import write_shell_file
from standalone.signals import run_until_told
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.planning import allow, make_plan
from standalone.supervision.supervisor import Supervisor

PHOTOS_ROOT = "photos"
QUESTIONS = ("We are looking for a cat", "Покажите пейзаж, пожалуйста")
READY_TIMEOUT_S = 180.0  # a first start loads torch from a cold disk
PHOTO_TIMEOUT_S = 120.0  # for the first photo; then per photo:
EACH_PHOTO_S = 5.0
ANSWER_TIMEOUT_S = 60.0
SHOWN_PHOTOS = 60
LOG_WIDTH = 160
_FAILED = "[red]done, and it did not work: see above[/red]; stopping"
LOADING, TAGGING = "the tagging process loads its model", "tagging"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the demo is to do.

    Attributes:
        photos: a folder of the user's own photos; None: the free ones in installed packages.
        once: whether it ends when it is done.
        model: the model's name; empty: it is chosen.
    """

    photos: Path | None
    once: bool
    model: str


@dataclass(slots=True)
class Stopwatch:
    """Prints messages with the seconds since the start."""

    console: Console
    began: float

    def say(self, message: str) -> None:
        """Print a line with the time that has passed."""
        self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {message}")


def run_demo(wish: Wish, *, say: Callable[[str], None]) -> int:
    """Run the demo; return 0 if photos were tagged and all answers arrived signed, else 1.

    A signal ends it at any moment, and then the exit code is 0.

    Raises:
        ConfigurationError: this machine cannot run it, or a setting is invalid.
        ArchiveFailed: the archive answered with an error, or not in time.
    """
    clock = Stopwatch(_console(), time.monotonic())
    plan = _plan(wish)
    with Supervisor(plan, say=say) as supervisor:
        try:
            return run_until_told(
                lambda: _demo(wish, plan, supervisor, clock),
                stop=supervisor.stop,
                kill=supervisor.kill,
                say=say,
            )
        finally:
            clock.console.show_cursor()  # a progress bar that was cut off leaves it hidden


def _demo(wish: Wish, plan: StandalonePlan, supervisor: Supervisor, clock: Stopwatch) -> int:
    clock.say("starting Apache Kafka, PostgreSQL and all roles on this machine…")
    clock.say(f"model: [bold]{plan.model.model}[/bold] ({plan.model.reason})")
    supervisor.start()
    environment = supervisor.environment()
    access = credentials(plan.settings.home, environment)
    write_shell = partial(
        write_shell_file,
        plan.settings.home,
        environment,
        plan.inherited,
        URL=supervisor.ingress_url,
        KEY=access.key,
        WEBHOOK_SECRET=access.signing_secret,
    )
    write_shell()
    wanted = plan.settings.ingress_port
    if not supervisor.ingress_url.endswith(f":{wanted}"):
        clock.say(f"port {wanted} is taken: the archive is at {supervisor.ingress_url}")
    with ArchiveClient(supervisor.ingress_url, access.key) as archive:
        archive.wait_until_ready(READY_TIMEOUT_S)
        clock.say("the archive takes requests; sending photos")
        unknown = archive.get("/health")["unknown_labels"]
        if unknown:
            clock.say(f"this model does not know {', '.join(unknown)}: it never gives these tags")
        worked = _main_job(archive, access, plan, wish, clock)
    _show_processes(clock.console, supervisor)
    if wish.once:
        clock.say("done, it worked; stopping" if worked else _FAILED)
    else:
        admin = admin_key(plan.settings.home, environment)
        shell_file = write_shell(ADMIN=admin)
        with ArchiveClient(supervisor.ingress_url, admin) as archive:
            link = archive.page_link()
        _show_ways_in(clock.console, supervisor.ingress_url, link, shell_file)
        supervisor.wait()
    return 0 if worked else 1


def _console() -> Console:
    """Return a console as wide as the terminal; in a file it is wide enough for whole paths."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = LOG_WIDTH
    return console


def _show_ways_in(console: Console, url: str, link: str, shell_file: Path) -> None:
    console.print(
        f"\nThe page: [bold]{link}[/bold]\n"
        "  signs you in, once and within ten minutes; photo-archive link makes another.\n"
        f"Every route: {url}/docs\n"
        f"In another terminal:  [bold]. {shlex.quote(str(shell_file))}[/bold]\n"
        "  gives you URL, KEY, ADMIN (a key that may do everything), WEBHOOK_SECRET, the settings\n"
        "  of this archive, and photo-archive and python in PATH.\n"
        "Ctrl-C stops it; what was tagged is there again at the next start.",
        soft_wrap=True,  # what is to be copied stands on one line
    )


def _plan(wish: Wish) -> StandalonePlan:
    if wish.photos is not None and not wish.photos.is_dir():
        raise ConfigurationError(f"{wish.photos}: there is no such folder")
    plan = make_plan(model=wish.model)
    if wish.photos is None:
        return plan
    return allow(plan, wish.photos, PHOTOS_ROOT)


def _main_job(
    archive: ArchiveClient, access: Credentials, plan: StandalonePlan, wish: Wish, clock: Stopwatch
) -> bool:
    home = plan.settings.home
    sent_at = time.monotonic()
    images = (
        _tag_free_photos(archive, home, clock)
        if wish.photos is None
        else _tag_folder(archive, str(place_of(plan.archive_roots, wish.photos)), clock)
    )
    if not images:
        clock.say(f"[red]no photos in {wish.photos}: nothing to tag, nothing asked[/red]")
        return False
    tagged = [image for image in images if image["status"] == "tagged"]
    took_s = time.monotonic() - sent_at
    clock.say(f"{len(tagged)} of {len(images)} photos tagged in {took_s:.1f} s, loading included")
    _show_photos(clock.console, images)
    callbacks = _ask(archive, access, home / "demo" / "callbacks", clock)
    _show_answers(clock.console, callbacks)
    return bool(tagged) and all(map(_is_answer, callbacks))


def _is_answer(callback: Callback | None) -> bool:
    return callback is not None and callback.body["type"] != "query.failed"


def _tag_free_photos(archive: ArchiveClient, home: Path, clock: Stopwatch) -> list[dict[str, Any]]:
    photos = copy_free_photos(home / "demo" / "photos")
    since = datetime.now(UTC)
    said = archive.upload(photos)
    known = sum(entry["duplicate"] for entry in said if not entry["error"])
    if known:
        clock.say(f"{known} of {len(said)} are in the archive already; they are tagged again")
    refused = [entry for entry in said if entry["error"]]
    for entry in refused:
        clock.say(f"[red]{entry['filename']}: {entry['error']['detail']}[/red]")
    ids = [entry["image_id"] for entry in said if not entry["error"]]
    images: list[dict[str, Any]] = []
    patience_s = PHOTO_TIMEOUT_S + EACH_PHOTO_S * len(ids)
    with _progress(clock.console) as progress:
        task = progress.add_task(LOADING, total=len(ids))
        for image in archive.follow_images(ids, patience_s, since=since):
            if not images:
                clock.say(f"first photo tagged: {image['image_path']}")
            images.append(image)
            progress.update(task, advance=1, description=TAGGING)
    return images


def _tag_folder(archive: ArchiveClient, folder: str, clock: Stopwatch) -> list[dict[str, Any]]:
    """Tag a folder (root and path) by a directory job; the files stay where they are."""
    began = archive.post("/tag/directory", {"directory_path": folder})
    first = True
    with _progress(clock.console) as progress:
        task = progress.add_task(LOADING, total=began["files_count"])
        for job in archive.follow_job(began["job_id"], PHOTO_TIMEOUT_S):
            done = settled(job)
            if done and first:
                clock.say("first photo tagged")
                first = False
            progress.update(
                task,
                completed=done,
                total=job["total"],
                description=LOADING if first else TAGGING,
            )
    return archive.images_of_job(began["job_id"])


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _ask(
    archive: ArchiveClient, access: Credentials, folder: Path, clock: Stopwatch
) -> list[Callback | None]:
    with CallbackReceiver(access.signing_secret, folder) as receiver:
        waiting: dict[str, str] = {}
        for text in QUESTIONS:
            query = archive.post("/images/tags", {"text": text, "callback_url": receiver.url})
            waiting[query["query_id"]] = text
            clock.say(f"asked: {text}")
        return _collect(receiver, waiting, clock)


def _collect(
    receiver: CallbackReceiver, waiting: dict[str, str], clock: Stopwatch
) -> list[Callback | None]:
    got: dict[str, Callback] = {}
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while len(got) < len(waiting) and time.monotonic() < deadline:
        callback = receiver.take(timeout_s=1.0)
        if callback is None:
            continue
        query_id = callback.body["data"]["query_id"]
        if query_id in waiting and query_id not in got:
            got[query_id] = callback
            clock.say(f"callback received, signature right: {waiting[query_id]}")
    if receiver.refused:
        clock.say(f"[red]{receiver.refused} callbacks with a wrong signature[/red]")
    return [got.get(query_id) for query_id in waiting]


def _show_photos(console: Console, images: Sequence[dict[str, Any]]) -> None:
    table = Table(title="Photos and their tags", title_justify="left")
    table.add_column("photo")
    table.add_column("tags, best first")
    for image in sorted(images, key=lambda shown: str(shown["image_path"]))[:SHOWN_PHOTOS]:
        error = image.get("error")
        tags = "  ".join(f"{tag['tag']} {tag['score']:.2f}" for tag in image["tags"] or ())
        table.add_row(str(image["image_path"]), f"[red]{error['detail']}[/red]" if error else tags)
    console.print(table)


def _show_answers(console: Console, callbacks: Sequence[Callback | None]) -> None:
    table = Table(title="Answers, received and verified", title_justify="left")
    for column in ("question", "answer", "because", "picture"):
        table.add_column(column, overflow="fold")  # names are to be copied whole
    for question, callback in zip(QUESTIONS, callbacks, strict=True):
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


def _show_processes(console: Console, supervisor: Supervisor) -> None:
    table = Table(title="Processes", title_justify="left")
    for column in ("process", "pid", "memory", "restarts"):
        table.add_column(column)
    for state in supervisor.states():
        memory = f"{state.memory_bytes / 2**20:.0f} MiB"
        table.add_row(state.name, str(state.pid), memory, str(state.restarts))
    console.print(table)
