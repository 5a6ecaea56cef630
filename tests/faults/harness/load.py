"""The load of the fault tests, and checks of its effects."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.topics import GROUPS, Topic
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.fakes.pictures import jpeg

PER_REQUEST = 20  # files; INGRESS_MAX_FILES
TINY = (64, 48)
QUESTION = "We are looking for a cat, a dog, a car or a beach"


def tiny_photos(count: int, first_seed: int) -> list[bytes]:
    """Return small JPEGs, all different."""
    seeds = range(first_seed, first_seed + count)
    photos = [jpeg(seed, TINY, comment=str(seed).encode()) for seed in seeds]
    assert len(set(photos)) == count
    return photos


def upload_all(archive: RunningArchive, photos: Sequence[bytes], prefix: str = "") -> list[str]:
    """Upload as `<prefix><number>.jpg`; check that all are accepted and return their ids."""
    ids: list[str] = []
    for at in range(0, len(photos), PER_REQUEST):
        files = [
            ("file", (f"{prefix}{at + number}.jpg", content, "image/jpeg"))
            for number, content in enumerate(photos[at : at + PER_REQUEST])
        ]
        response = archive.http.post("/images/upload", files=files)
        assert response.status_code == 202, response.text
        entries = response.json()["images"]
        assert {entry["status"] for entry in entries} == {"accepted"}
        ids += [entry["image_id"] for entry in entries]
    return ids


def ask_all(archive: RunningArchive, url: str, count: int, pause_s: float) -> list[str]:
    """Submit queries one by one; check that all are accepted and return their ids."""
    ids: list[str] = []
    for _ in range(count):
        body = {"text": QUESTION, "callback_url": url}
        response = archive.http.post("/images/tags", json=body)
        assert response.status_code == 202, response.text
        ids.append(response.json()["query_id"])
        time.sleep(pause_s)
    return ids


def tagged_count(archive: RunningArchive, prefix: str) -> int:
    """Return how many images with this path prefix have tags."""
    count = "SELECT count(*) FROM tagged_images WHERE starts_with(image_path, $1)"
    return int(archive.value(count, prefix))


@contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Run `work` beside the block; yield a function that waits for its result."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()

    def result() -> Any:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    yield result
    thread.join(timeout=60)


@dataclass(frozen=True, slots=True)
class Told:
    """The events on `images.tagged.v1` about some images.

    Attributes:
        ids: image -> distinct event ids about it.
        records: image -> records about it.
    """

    ids: dict[str, set[str]]
    records: Counter[str]

    @property
    def duplicates(self) -> int:
        """Return the number of records beyond one per event id."""
        return self.records.total() - sum(len(each) for each in self.ids.values())


def told_about(archive: RunningArchive, ids: Sequence[str], topic: Topic) -> Told:
    """Return the events about these images; read the topic from its beginning."""
    wanted = set(ids)
    told = Told({}, Counter())
    for record in archive.topic(topic.name):
        image_id = (record.key or b"").decode()
        if image_id in wanted:
            told.ids.setdefault(image_id, set()).add(record.header("ce_id"))
            told.records[image_id] += 1
    return told


def told_about_all(archive: RunningArchive, ids: Sequence[str], topic: Topic) -> Told:
    """As `told_about`, but wait until each image has an event: those left by a crash are late."""

    def complete() -> Told | None:
        told = told_about(archive, ids, topic)
        return told if told.ids.keys() >= set(ids) else None

    told = archive.wait_for(complete, 60, "events were lost")
    assert told is not None
    return told


def wait_until_tagged(archive: RunningArchive, prefix: str, least: int, timeout_s: float) -> int:
    """Wait until at least that many of these images have tags; return how many have."""
    counts = [0]

    def enough() -> bool:
        counts.append(tagged_count(archive, prefix))
        return counts[-1] >= least

    archive.wait_for(enough, timeout_s, f"{least} photos {prefix}* were not tagged")
    return counts[-1]


def assert_progress_is_at_the_end(archive: RunningArchive, group: str) -> None:
    """Check that the group's progress is at the end of each partition of its topic."""
    topic = GROUPS[group]
    ends: dict[int, int] = {}
    for record in archive.topic(topic.name):
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    rows = archive.sql("SELECT part, next_offset FROM progress WHERE grp = $1", group)
    stands = {row["part"]: row["next_offset"] for row in rows}
    assert stands == {number: ends.get(number, 0) for number in range(topic.partitions)}


def callbacks_until(
    receiver: CallbackReceiver, wanted: int, timeout_s: float, quiet_s: float = 3.0
) -> dict[str, Counter[str]]:
    """Collect callbacks until none arrives for a while; return counts by query and webhook id."""
    came: dict[str, Counter[str]] = {}
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        callback = receiver.take(timeout_s=quiet_s)
        if callback is not None:
            query_id = str(callback.body["data"]["query_id"])
            came.setdefault(query_id, Counter())[callback.webhook_id] += 1
        elif len(came) >= wanted:
            break
    return came


def duplicates(came: dict[str, Counter[str]]) -> int:
    """Return the number of requests beyond the first of each webhook id."""
    return sum(sum(counts.values()) - len(counts) for counts in came.values())


def is_well(archive: RunningArchive) -> bool:
    """Return whether the ingress reaches broker and database."""
    try:
        return bool(archive.http.get("/health").json()["status"] == "ok")
    except httpx.TransportError:
        return False
