"""The demo: the main job from nothing to a received callback, on this machine.

Starts the servers and all roles, tags photos, asks a question in English and one in Russian,
receives the signed answers, and shows what came of it. Speaks HTTP only, as any user does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from core.errors import ConfigurationError
from standalone.demo import questions, showing
from standalone.demo.archive_client import (
    ArchiveClient,
    ArchiveFailed,
    settled,
)
from standalone.demo.kept_keys import Credentials
from standalone.demo.photos import copy_free_photos
from standalone.demo.receiver import Callback, CallbackReceiver
from standalone.demo.showing import Stopwatch
from standalone.demo.ways_in import open_ways_in, page_link
from standalone.remembered_roots import place_of
from standalone.signals import run_until_told
from standalone.signs import SignsOfLife
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.planning import allow, make_plan
from standalone.supervision.supervisor import Supervisor

PHOTOS_ROOT = "photos"
# Ten times what a machine of two cores that has nothing else to do has ever taken. Whoever waits
# sees by signs of life that something happens, and hears at once of a process that is lost.
PHOTO_TIMEOUT_S = 900.0  # for the first photo; then per photo:
EACH_PHOTO_S = 20.0
ANSWER_TIMEOUT_S = 300.0
NO_FOLDER = "there is no such folder"
IS_FILE = "this is a file; photos are taken from a folder"
LOADING, TAGGING = "the tagging process loads its model", "tagging"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the demo is to do.

    Attributes:
        photos: a folder of the user's own photos; None: the free ones in installed packages.
        once: whether it ends when it is done.
        model: the model's name; empty: it is chosen.
        brokers: of how many brokers Kafka is; None: as the home was made.
    """

    photos: Path | None
    once: bool
    model: str
    brokers: int | None = None


@dataclass(frozen=True, slots=True)
class Tagging:
    """What came of the photos.

    Attributes:
        images: with their tags; of a large folder the first 200.
        tagged: how many were tagged.
        total: how many there are.
        skips: how many files are no photos, by reason.
    """

    images: Sequence[dict[str, Any]]
    tagged: int
    total: int
    skips: Mapping[str, int]


def run_demo(wish: Wish, *, say: Callable[[str], None]) -> int:
    """Run the demo; return 0 if photos were tagged and answers arrived signed, else 1.

    A signal ends it at any moment. The exit code is 0 then, unless the demo was to end by itself:
    one that was cut off has not worked.

    Raises:
        ConfigurationError: this machine cannot run it, or a setting is invalid.
    """
    clock = Stopwatch(showing.console(), time.monotonic())
    plan = _plan(wish)
    came_to: list[int] = []
    with Supervisor(plan, say=clock.say_plainly) as supervisor:

        def work() -> int:
            came_to.append(_demo(wish, plan, supervisor, clock))
            return came_to[0]

        try:
            code = run_until_told(work, stop=supervisor.stop, kill=supervisor.kill, say=say)
        finally:
            clock.console.show_cursor()  # a progress bar that was cut off leaves it hidden
    if wish.once and not came_to:
        say("it was stopped before it was done")
        return 1
    return code


def _demo(wish: Wish, plan: StandalonePlan, supervisor: Supervisor, clock: Stopwatch) -> int:
    clock.say("starting Apache Kafka, PostgreSQL and all roles on this machine…")
    clock.say(f"model: [bold]{plan.model.model}[/bold] ({plan.model.reason})")
    with SignsOfLife(clock.say_plainly, supervisor.waits_for):
        supervisor.start()
    try:
        ways = open_ways_in(plan, supervisor, clock)
        url, key = ways.url, ways.access.key
        with ArchiveClient(url, key, plan.certificate, supervisor.check) as archive:
            _say_unknown(archive, clock)
            worked, words = _main_job(archive, ways.access, plan, wish, clock)
    except (ArchiveFailed, httpx.HTTPError) as error:
        return _left_alone(error, wish, supervisor, clock)
    showing.show_processes(clock.console, supervisor)
    if wish.once:
        clock.say(f"done, {words}; stopping" if worked else f"[red]done, {words}[/red]; stopping")
    else:
        if not worked:
            clock.say(f"[red]{words}[/red]")
        showing.show_ways_in(clock.console, url, page_link(ways, plan), ways.shell_file)
        supervisor.wait()
    return 0 if worked else 1


def _left_alone(error: Exception, wish: Wish, supervisor: Supervisor, clock: Stopwatch) -> int:
    """Say why the demo does not go on; the archive does, unless all was to end by itself."""
    clock.say_plainly(f"the demo cannot go on: {type(error).__name__}: {error}")
    if not wish.once:
        clock.say(f"the archive stays up, {supervisor.ingress_url}; Ctrl-C stops it")
        supervisor.wait()
    return 1


def _say_unknown(archive: ArchiveClient, clock: Stopwatch) -> None:
    """Say which labels the model cannot know: only the bundled one has such."""
    unknown = archive.get("/health")["unknown_labels"]
    if unknown:
        clock.say(f"this model does not know {', '.join(unknown)}: no photo gets these tags")


def _plan(wish: Wish) -> StandalonePlan:
    if wish.photos is not None and not wish.photos.is_dir():
        what = IS_FILE if wish.photos.exists() else NO_FOLDER
        raise ConfigurationError(f"{wish.photos}: {what}")
    plan = make_plan(model=wish.model, brokers=wish.brokers)
    if wish.photos is None:
        return plan
    return allow(plan, wish.photos, PHOTOS_ROOT)


def _main_job(
    archive: ArchiveClient, access: Credentials, plan: StandalonePlan, wish: Wish, clock: Stopwatch
) -> tuple[bool, str]:
    """Tag, ask, show; return whether it worked, and what to say in the end."""
    home = plan.settings.home
    sent_at = time.monotonic()
    # On a terminal a bar moves meanwhile.
    quiet = SignsOfLife(clock.say_plainly, lambda: "photos to be tagged")
    with nullcontext() if clock.console.is_terminal else quiet:
        done = (
            _tag_free_photos(archive, home, clock)
            if wish.photos is None
            else _tag_folder(archive, str(place_of(plan.archive_roots, wish.photos)), clock)
        )
    if done.skips:
        clock.say(f"skipped, as no photos that can be tagged: {questions.skipped(done.skips)}")
    if not done.images:
        return False, f"no photos in {wish.photos}: nothing to tag, nothing asked"
    took_s = time.monotonic() - sent_at
    clock.say(f"{done.tagged} of {done.total} photos tagged in {took_s:.1f} s, loading included")
    showing.show_photos(clock.console, done.images)
    asked = list(questions.OF_FREE_PHOTOS)
    if wish.photos is not None:
        asked = questions.about(done.images, archive.get("/labels")["labels"])
    callbacks = _ask(archive, access, asked, home / "demo" / "callbacks", clock)
    showing.show_answers(clock.console, asked, callbacks)
    return questions.verdict(done.tagged, callbacks)


def _tag_free_photos(archive: ArchiveClient, home: Path, clock: Stopwatch) -> Tagging:
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
    with showing.progress(clock.console) as progress:
        task = progress.add_task(LOADING, total=len(ids))
        for image in archive.follow_images(ids, patience_s, since=since):
            if not images:
                clock.say(f"first photo tagged: {image['image_path']}")
            images.append(image)
            progress.update(task, advance=1, description=TAGGING)
    tagged = sum(image["status"] == "tagged" for image in images)
    return Tagging(images, tagged, len(images), {})


def _tag_folder(archive: ArchiveClient, folder: str, clock: Stopwatch) -> Tagging:
    """Tag a folder (root and path) by a directory job; the files stay where they are."""
    began = archive.post("/tag/directory", {"directory_path": folder})
    job: dict[str, Any] = {}
    first = True
    with showing.progress(clock.console) as progress:
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
    images = archive.images_of_job(began["job_id"])
    return Tagging(images, job["images"].get("tagged", 0), settled(job), job["skips"])


def _ask(
    archive: ArchiveClient,
    access: Credentials,
    asked: Sequence[str],
    folder: Path,
    clock: Stopwatch,
) -> list[Callback | None]:
    with CallbackReceiver(access.signing_secret, folder) as receiver:
        waiting: dict[str, str] = {}
        for text in asked:
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
