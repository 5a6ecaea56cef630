"""A long load under kills: which process dies when, and the resources of the survivors."""

import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from standalone.ports import HOST, choose_port
from standalone.supervision.roles import ProcessSpec, all_roles
from tests.e2e.archive import RunningArchive
from tests.faults.harness.load import QUESTION
from tests.servers import PORTS_PER_SESSION, first_port

SURVIVORS = ("ingress-1", "tagging-1", "query-1", "delivery-1")
BETWEEN_KILLS_S = (1.0, 5.0)
#: Weights of the victims. The death of a backend makes PostgreSQL end all sessions and recover.
VICTIMS = {"ingress": 5, "tagging-0": 8, "query-0": 8, "delivery-0": 8, "kafka": 1, "backend": 1}
SAMPLE_S = 5.0
ASKING = 4  # clients
PAUSE_S = 0.5
GIVE_UP_S = 600.0


def roles_twice() -> tuple[tuple[ProcessSpec, ...], dict[str, str]]:
    """Return all roles, each with a second process that is never killed, and the latter's URLs."""
    first = first_port() + 4 * PORTS_PER_SESSION
    ports: list[int] = []
    for _ in SURVIVORS:
        ports.append(choose_port(first, avoid=set(ports)))
    urls = {name: f"http://{HOST}:{port}" for name, port in zip(SURVIVORS, ports, strict=True)}
    argv = {name: ("-m", "consumers", name.partition("-")[0]) for name in SURVIVORS[1:]}
    steady = [ProcessSpec("ingress-1", ("-m", "ingress"), False, {"INGRESS_PORT": str(ports[0])})]
    steady += [
        ProcessSpec(name, argv[name], True, {"TELEMETRY_METRICS_PORT": str(port)})
        for name, port in zip(SURVIVORS[1:], ports[1:], strict=True)
    ]
    return (*all_roles(1, None), *steady), urls


@dataclass(slots=True)
class Series:
    """The resources that one process used, by sample."""

    memory_mib: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)

    def add(self, metrics: dict[str, float]) -> None:
        """Add one answer of `/metrics`."""
        self.memory_mib.append(metrics["process_resident_memory_bytes"] / 2**20)
        self.descriptors.append(metrics["process_open_fds"])
        self.tasks.append(metrics["photo_archive_event_loop_tasks"])


def early_and_late(samples: Sequence[float]) -> tuple[float, float]:
    """Return medians of the second and the last fifth; the first is warm-up."""
    fifth = len(samples) // 5
    return median(samples[fifth : 2 * fifth]), median(samples[-fifth:])


@dataclass(slots=True)
class Watch:
    """Samples of the survivors, and of the servers' connections."""

    roles: dict[str, Series] = field(default_factory=dict)
    connections: list[float] = field(default_factory=list)
    kafka_descriptors: list[float] = field(default_factory=list)


@contextmanager
def sampled(archive: RunningArchive, urls: dict[str, str]) -> Iterator[Watch]:
    """Sample the survivors while the block runs, which begins when all have claimed partitions."""
    watch = Watch({name: Series() for name in urls})
    stop = threading.Event()
    headers = {"X-API-Key": archive.access.key}

    def is_at_work(name: str) -> bool:
        with suppress(httpx.TransportError):
            return _holds_partitions(httpx.get(f"{urls[name]}/metrics", headers=headers).text)
        return False

    consumers = SURVIVORS[1:]
    archive.wait_for(lambda: all(map(is_at_work, consumers)), 120, "one never came to work")

    def look() -> None:
        with httpx.Client(timeout=30, trust_env=False, headers=headers) as http:
            while not stop.wait(SAMPLE_S):
                for name, url in urls.items():
                    with suppress(httpx.TransportError):  # missing samples show it
                        watch.roles[name].add(_parsed(http.get(f"{url}/metrics").text))
                with suppress(OSError, psutil.Error):
                    watch.kafka_descriptors.append(_descriptors(archive.pids()["kafka"]))
                with suppress(Exception):  # the database is recovering
                    count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = $1"
                    watch.connections.append(float(archive.value(count, "client backend")))

    with _thread(look, stop):
        yield watch


def _parsed(text: str) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def _holds_partitions(text: str) -> bool:
    """Return whether a consumer has loaded, joined and claimed."""
    return any(
        sample.name == "photo_archive_consumer_partitions"
        and sample.labels["state"] == "ready"
        and sample.value > 0
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def _descriptors(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(one.num_fds() for one in (process, *process.children(recursive=True)))


@contextmanager
def dying(archive: RunningArchive, chance: random.Random) -> Iterator[Counter[str]]:
    """Kill a process every few seconds while the block runs; yield the counts per process."""
    deaths: Counter[str] = Counter()
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(chance.uniform(*BETWEEN_KILLS_S)):
            (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
            pid = _backend(archive, chance) if victim == "backend" else archive.pids()[victim]
            if pid:  # 0: it is down already
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    deaths[victim] += 1

    with _thread(kill, stop):
        yield deaths


def _backend(archive: RunningArchive, chance: random.Random) -> int:
    """Return the process id of a PostgreSQL session; 0 while there is none."""
    with suppress(Exception):  # the database is recovering
        names = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'photo-archive%'"
        rows = archive.sql(names)
        return int(chance.choice(rows)["pid"]) if rows else 0
    return 0


@contextmanager
def _thread(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)
    if errors:
        raise errors[0]


def ask_through(urls: Sequence[str], key: str, callback_url: str, count: int) -> list[str]:
    """Submit queries by a few clients, each until it is accepted; return one id per query."""
    headers = {"X-API-Key": key}
    deadline = time.monotonic() + GIVE_UP_S
    body = {"text": QUESTION, "callback_url": callback_url}

    def ask(number: int) -> str:
        once = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            assert time.monotonic() < deadline, f"query {number} is never accepted"
            with suppress(httpx.TransportError):
                url = f"{urls[number % len(urls)]}/images/tags"
                response = http.post(url, json=body, headers=once)
                if response.status_code == 202:
                    return str(response.json()["query_id"])
                assert response.status_code == 503, response.text
            time.sleep(PAUSE_S)

    with (
        httpx.Client(headers=headers, timeout=60, trust_env=False) as http,
        ThreadPoolExecutor(ASKING) as pool,
    ):
        return list(pool.map(ask, range(count)))
