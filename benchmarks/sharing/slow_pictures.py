"""Measure ordinary photos beside pictures that take long or much to decode, sent by another key.

    python -m benchmarks.sharing.slow_pictures [--quick]

The whole archive with the bundled model: embedded servers, all roles, HTTP. In each round four
ordinary photos are uploaded, and the time counts until the last of them shows its tags. In the
rounds of the second kind ten narrow pictures were uploaded just before, in those of the third
64 JPEGs of 2,600 scans. What is left of them from earlier rounds is still being worked off.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness.pictures import make_photos, many_scans, narrow
from benchmarks.harness.report import goal
from benchmarks.harness.rows import run_alone
from core.settings import StandaloneSettings
from standalone.demo.archive_client import ArchiveClient
from standalone.demo.kept_keys import COMMAND, credentials
from standalone.supervision.planning import make_plan
from standalone.supervision.supervisor import Supervisor

PHOTOS_PER_ROUND = 4
MEGAPIXELS = 1.2
NARROW, SLOW = 10, 64
READY_S = 180.0
PATIENCE_S = 900.0
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Clients:
    """Two keys: of whoever sends photos, and of whoever sends the others."""

    photos: ArchiveClient
    others: ArchiveClient


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one round.

    Attributes:
        seconds: until all photos were tagged.
        others_tagged: of the pictures that were sent just before, by then.
    """

    seconds: float
    others_tagged: int


@contextmanager
def opened(folder: Path) -> Iterator[Clients]:
    """Start an archive, with a key for each of two owners."""
    folder.chmod(0o755)  # PostgreSQL runs as another user
    os.environ["STANDALONE_HOME"] = str(folder / "home")
    plan = replace(make_plan(model="demo"), settings=StandaloneSettings(home=folder / "home"))
    with Supervisor(plan, say=lambda _text: None) as supervisor:
        supervisor.start()
        environment = supervisor.environment()
        key = credentials(folder / "home", environment).key
        with (
            ArchiveClient(supervisor.ingress_url, key) as photos,
            ArchiveClient(supervisor.ingress_url, _key("mallory", environment)) as others,
        ):
            photos.wait_until_ready(READY_S)
            yield Clients(photos, others)


def _key(owner: str, environment: dict[str, str]) -> str:
    command = [COMMAND, "keys", "create", "--owner", owner, "--scopes", "upload,read", "--json"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return str(json.loads(done.stdout)["key"])


def play(clients: Clients, photos: Sequence[Path], others: Sequence[Path]) -> Round:
    """Upload the others, then the photos; wait for the photos."""
    sent = [image["image_id"] for image in clients.others.upload(others)]
    began = time.monotonic()
    waiting = [image["image_id"] for image in clients.photos.upload(photos)]
    while waiting := [one for one in waiting if not _is_tagged(clients.photos, one)]:
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"photos are not tagged within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)
    took = time.monotonic() - began
    return Round(took, sum(_is_tagged(clients.others, one) for one in sent))


def _is_tagged(client: ArchiveClient, image_id: str) -> bool:
    return bool(client.get(f"/images/{image_id}")["status"] == "tagged")


def write(folder: Path, pictures: Sequence[bytes], suffix: str) -> list[Path]:
    """Write files to be uploaded."""
    folder.mkdir()
    paths = [folder / f"{number:03}{suffix}" for number in range(len(pictures))]
    for path, data in zip(paths, pictures, strict=True):
        path.write_bytes(data)
    return paths


def run(folder: Path, rounds: int) -> dict[str, list[Round]]:
    """Play all rounds: alone, beside narrow pictures, beside slow ones."""
    photos = iter(make_photos(folder, MEGAPIXELS, PHOTOS_PER_ROUND * (3 * rounds + 1)))

    def some() -> list[Path]:
        return [next(photos) for _ in range(PHOTOS_PER_ROUND)]

    narrow_ones = [narrow(number) for number in range(NARROW * rounds)]
    slow_ones = [many_scans(number) for number in range(SLOW * rounds)]
    narrow_files = write(folder / "narrow", narrow_ones, ".png")
    slow_files = write(folder / "slow", slow_ones, ".jpg")
    with opened(folder) as clients:
        play(clients, some(), [])  # the first batch of all is not measured
        return {
            "alone": [play(clients, some(), []) for _ in range(rounds)],
            f"{NARROW} narrow": [
                play(clients, some(), narrow_files[NARROW * n :][:NARROW]) for n in range(rounds)
            ],
            f"{SLOW} of many scans": [
                play(clients, some(), slow_files[SLOW * n :][:SLOW]) for n in range(rounds)
            ],
        }


def measure(*, quick: bool) -> None:
    """Measure, print the table and the goals."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    try:
        found = run(folder, 2 if quick else 10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table(title=f"{PHOTOS_PER_ROUND} photos of {MEGAPIXELS:g} MP, from upload to tagged")
    for column in ("beside", "rounds", "median s", "most s", "of the others tagged by then"):
        table.add_column(column)
    for name, many in found.items():
        seconds = [one.seconds for one in many]
        tagged = sum(one.others_tagged for one in many)
        table.add_row(
            name, str(len(many)), f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}",
            str(tagged),
        )  # fmt: skip
    Console(width=120).print(table)
    medians = {name: statistics.median(one.seconds for one in many) for name, many in found.items()}
    alone = medians.pop("alone")
    for name, median_s in medians.items():
        goal(f"ordinary photos beside {name} ÷ alone", median_s / alone, 3, unit="×", at_most=True)


if __name__ == "__main__":
    run_alone(measure)
