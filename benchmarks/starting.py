"""How long the archive takes to start and to stop, beside a bare script that does the same."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.harness.report import goal
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import StandaloneSettings, TaggingSettings
from core.vision.checkpoints.source import find_source
from core.vision.towers import DEMO_FOLDER
from standalone.demo.archive_client import ArchiveClient
from standalone.demo.kept_keys import credentials
from standalone.demo.photos import copy_free_photos
from standalone.supervision.planning import make_plan
from standalone.supervision.supervisor import Supervisor

READY_S = 120.0
POLL_S = 0.02
ROUNDS = 3
#: How far a start has come when it is told to stop.
MOMENTS: dict[str, Callable[[Supervisor], bool]] = {
    "at once": lambda _: True,
    "tagging imports": lambda supervisor: _is_there(supervisor, "tagging-0"),
    "servers up": lambda supervisor: bool(supervisor.kafka.ports and supervisor.postgres.ports),
    "ingress imports": lambda supervisor: _is_there(supervisor, "ingress"),
    "query imports": lambda supervisor: _is_there(supervisor, "query-0"),
}


@dataclass(frozen=True, slots=True)
class Start:
    """One start, in seconds from its beginning, and the stop after it."""

    photo_s: float
    stop_s: float


def measure(model: str, *, quick: bool) -> None:
    """Measure starts, in turns with what they are measured against; print."""
    with tempfile.TemporaryDirectory(prefix="photo-archive-start-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        photo = copy_free_photos(folder / "photos")[0]
        start_servers(folder / "warm", model)  # jars, Java's cache, compiled modules
        bare_s = [bare_process(model, photo)]
        servers, starts = [], []
        for turn in range(1 if quick else ROUNDS):
            servers.append(start_servers(folder / f"servers{turn}", model))
            bare_s.append(bare_process(model, photo))
            starts.append(start_archive(folder / f"archive{turn}", model, photo))
        again = start_archive(folder / "archive0", model, photo)
        stops = {
            moment: stop_at(folder / f"stop{number}", model, reached)
            for number, (moment, reached) in enumerate(MOMENTS.items())
        }
    _print(median(servers), median(bare_s[1:]), starts, again, stops)


def bare_process(model: str, photo: Path) -> float:
    """Return the seconds of a plain script that loads the model and tags one photo."""
    source = find_source(model, TaggingSettings().pretrained, DEMO_FOLDER)
    labels = [label.name for label in DEFAULT_LABELS]
    module = "benchmarks.peers.bare_start"
    command = [
        sys.executable,
        "-m",
        module,
        source.name,
        str(source.file or ""),
        str(photo),
        *labels,
    ]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def start_servers(home: Path, model: str) -> float:
    """Return the seconds until both servers are up, in a new home."""
    with _supervisor(home, model) as supervisor:
        began = time.monotonic()
        supervisor.start_servers()
        return time.monotonic() - began


def start_archive(home: Path, model: str, photo: Path) -> Start:
    """Start everything, upload one photo as soon as that can be, wait for its tags, stop."""
    began = time.monotonic()
    with _supervisor(home, model) as supervisor:
        supervisor.start()
        access = credentials(home, supervisor.environment())
        with ArchiveClient(supervisor.ingress_url, access.key) as archive:
            archive.wait_until_ready(READY_S)
            photo = _changed(photo, home)
            image_id = archive.upload([photo])[0]["image_id"]
            while archive.get(f"/images/{image_id}")["status"] != "tagged":
                time.sleep(POLL_S)
        photo_s = time.monotonic() - began
        told = time.monotonic()
        supervisor.stop()
        return Start(photo_s, time.monotonic() - told)


def stop_at(home: Path, model: str, reached: Callable[[Supervisor], bool]) -> float:
    """Return the seconds from a SIGTERM at a moment of the start to the end of the process."""
    source = (
        "import sys; from benchmarks.starting import run_until_told_at;"
        " run_until_told_at(*sys.argv[1:])"
    )
    moment = next(name for name, condition in MOMENTS.items() if condition is reached)
    with subprocess.Popen(
        [sys.executable, "-c", source, str(home), model, moment], stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdout.readline() != "reached\n":
            raise SystemExit(f"the start never reached: {moment}")
        told = time.monotonic()
        process.terminate()
        process.wait()
        return time.monotonic() - told


def run_until_told_at(home: str, model: str, moment: str) -> None:
    """Start an archive; print `reached` when it has come to the moment. In a process of its own."""
    import threading

    from standalone.signals import run_until_told

    reached = MOMENTS[moment]
    with _supervisor(Path(home), model) as supervisor:

        def watch() -> None:
            while not reached(supervisor):
                time.sleep(POLL_S)
            print("reached", flush=True)

        def work() -> int:
            threading.Thread(target=watch, daemon=True).start()
            supervisor.start()
            supervisor.wait()
            return 0

        run_until_told(work, stop=supervisor.stop, kill=supervisor.kill, say=lambda _: None)


def _supervisor(home: Path, model: str) -> Supervisor:
    os.environ["STANDALONE_HOME"] = str(home)
    plan = replace(make_plan(model=model), settings=StandaloneSettings(home=home))
    return Supervisor(plan, say=lambda text: print(f"  {text}", file=sys.stderr))


def _is_there(supervisor: Supervisor, name: str) -> bool:
    return any(state.name == name and state.pid for state in supervisor.states())


def _changed(photo: Path, home: Path) -> Path:
    """Return a copy that no archive has seen: the same bytes would not be encoded again."""
    copy = home.parent / f"{time.monotonic_ns()}{photo.suffix}"
    copy.write_bytes(photo.read_bytes() + os.urandom(16))  # what follows the picture is ignored
    return copy


def _print(
    servers_s: float, bare_s: float, starts: list[Start], again: Start, stops: dict[str, float]
) -> None:
    photo_s = median(start.photo_s for start in starts)
    print(f"start: servers up {servers_s:.1f} s, bare process {bare_s:.1f} s")
    print(f"first tagged photo: {photo_s:.1f} s in a new home, {again.photo_s:.1f} s in an old one")
    print("stopped while starting: " + ", ".join(f"{at} {s:.1f} s" for at, s in stops.items()))
    goal(
        "first tagged photo / (servers up + bare process)",
        photo_s / (servers_s + bare_s),
        1.0,
        unit="×",
        at_most=True,
    )
    stop_s = max(start.stop_s for start in (*starts, again))
    goal("stopped", stop_s, 3, unit="s", at_most=True)
    goal("stopped while starting", max(stops.values()), 3, unit="s", at_most=True)
