"""Clients that upload during outages: they repeat a request with the same bytes until a 202."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psutil

from standalone.processes.child_process import guarded
from standalone.supervision.role_keepers import PROJECT
from tests.e2e.archive import RunningArchive
from tests.servers import PORTS_PER_SESSION, first_port

CLIENTS = 8
MAX_PAUSE_S = 0.5  # the server says 5 s, but an impatient client is the harder case
GIVE_UP_S = 300.0
SAMPLE_S = 0.2
REFUSED, LOST = 0, -1  # no connection; the connection broke, so that the image may have been stored


@dataclass(slots=True)
class SecondIngress:
    """A second ingress process, with settings of its own."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def memory_mib(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20


@contextmanager
def second_ingress(archive: RunningArchive, **variables: str) -> Iterator[SecondIngress]:
    """Start a second ingress on the archive's broker and database; kill it at the end."""
    port = first_port() + 3 * PORTS_PER_SESSION - 1
    process = subprocess.Popen(
        guarded([sys.executable, "-m", "ingress"]),
        cwd=PROJECT,
        env={
            **os.environ,
            **archive.supervisor.environment(),
            "INGRESS_PORT": str(port),
            **variables,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ingress = SecondIngress(process, f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        assert process.poll() is None, "the second ingress ended"
        try:
            return httpx.get(f"{ingress.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        archive.wait_for(is_ready, 60, "the second ingress is not ready")
        yield ingress
    finally:
        process.kill()
        process.wait()


@dataclass(slots=True)
class Uploaded:
    """The results of some uploads.

    Attributes:
        ids: the image ids in the answers, per upload: one, however often it was repeated.
        answers: number of answers per status, `REFUSED` and `LOST` included.
        unanswered: per upload, how often it may have been stored without the client's knowing.
    """

    ids: dict[int, set[str]] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: Counter[int] = field(default_factory=Counter)


def upload_through(url: str, key: str, photos: Sequence[bytes], prefix: str) -> Uploaded:
    """Upload all by a few clients at once, one image per request, each until it is accepted."""
    done, lock = Uploaded(), threading.Lock()
    deadline = time.monotonic() + GIVE_UP_S + len(photos) / 10

    def client(numbers: range) -> None:
        headers = {"X-API-Key": key, "Content-Type": "image/jpeg"}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            for number in numbers:
                while not accepted(http, number):
                    assert time.monotonic() < deadline, f"upload {number} is never accepted"
                    time.sleep(MAX_PAUSE_S)

    def accepted(http: httpx.Client, number: int) -> bool:
        name = f"/images/upload?filename={prefix}{number}.jpg"
        try:
            response = http.post(name, content=photos[number])
        except httpx.TransportError as error:
            with lock:
                is_lost = not isinstance(error, httpx.ConnectError)
                done.answers[LOST if is_lost else REFUSED] += 1
                done.unanswered[number] += is_lost
            return False
        with lock:
            done.answers[response.status_code] += 1
            done.unanswered[number] += response.status_code == 503
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1, response.text
            return False
        assert response.status_code == 202, response.text
        (entry,) = response.json()["images"]
        with lock:
            done.ids.setdefault(number, set()).add(entry["image_id"])
        return True

    with ThreadPoolExecutor(CLIENTS) as pool:
        every = [range(first, len(photos), CLIENTS) for first in range(CLIENTS)]
        for finished in [pool.submit(client, numbers) for numbers in every]:
            finished.result()
    return done


@dataclass(slots=True)
class Watched:
    """The worst values observed."""

    outbox_rows: int = 0
    memory_mib: float = 0.0


@contextmanager
def watched(archive: RunningArchive, ingress: SecondIngress) -> Iterator[Watched]:
    """Observe the outbox and the process's memory while the block runs."""
    seen, stop = Watched(), threading.Event()
    waiting = "SELECT count(*) FROM outbox WHERE topic = 'images.arrived.v1'"

    def look() -> None:
        while not stop.wait(SAMPLE_S):
            seen.outbox_rows = max(seen.outbox_rows, int(archive.value(waiting)))
            seen.memory_mib = max(seen.memory_mib, ingress.memory_mib)

    looking = threading.Thread(target=look, name="watch", daemon=True)
    looking.start()
    try:
        yield seen
    finally:
        stop.set()
        looking.join(timeout=30)
