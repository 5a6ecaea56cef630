"""The primary of a pair SIGKILLed again and again, under uploads, queries and webhooks."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import httpx
import pytest

from schemas.topics import IMAGES_TAGGED
from standalone.demo.receiver import CallbackReceiver
from standalone.postgres.pair import PostgresPair
from tests.e2e.archive import RunningArchive, running_archive
from tests.faults.conftest import SETTINGS
from tests.faults.harness.load import (
    QUESTION,
    assert_progress_is_at_the_end,
    callbacks_until,
    duplicates,
    tagged_count,
    tiny_photos,
    told_about_all,
)
from tests.measured import Measured

KILLS = int(os.environ.get("PAIR_KILLS", "3"))
UP_S = 300.0
CATCH_UP_S = 300.0
PAUSE_S = 0.1
MOST_REFUSED_S = 3.0


@pytest.fixture
def paired() -> Iterator[RunningArchive]:
    """Start an archive whose PostgreSQL has a standby."""
    with running_archive("pair", SETTINGS, standby=True) as started:
        yield started


@dataclass
class Load:
    """Uploads and queries, each until it is accepted, and how long none was."""

    archive: RunningArchive
    callback_url: str
    images: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def upload(self) -> None:
        last = time.monotonic()
        for number in count():
            (photo,) = tiny_photos(1, first_seed=700_000 + number)
            files = [("file", (f"pair-{number}.jpg", photo, "image/jpeg"))]
            was_refused = False
            while (response := self._post("/images/upload", files=files)) is None:
                was_refused = True
            self.images.append(response.json()["images"][0]["image_id"])
            if was_refused:
                self.refused_s.append(time.monotonic() - last)
            last = time.monotonic()
            if self.stop.wait(PAUSE_S):
                return

    def ask(self) -> None:
        while not self.stop.wait(PAUSE_S):
            key = {"Idempotency-Key": os.urandom(8).hex()}
            body = {"text": QUESTION, "callback_url": self.callback_url}
            while (response := self._post("/images/tags", json=body, headers=key)) is None:
                pass
            self.queries.append(response.json()["query_id"])

    def wait_for_more(self) -> None:
        """Wait until some more photos were accepted."""
        wanted = len(self.images) + 20
        self.archive.wait_for(lambda: len(self.images) >= wanted, UP_S, "no uploads")

    def _post(self, path: str, **options: object) -> httpx.Response | None:
        """Return the answer 202; None where it was refused."""
        try:
            response = self.archive.http.post(path, **options)  # type: ignore[arg-type]  # passed on
        except httpx.TransportError:
            response = None
        if response is not None and response.status_code == 202:
            return response
        assert response is None or response.status_code == 503, response.text
        time.sleep(0.02)
        return None


def _is_replaced(pair: PostgresPair, old: int) -> bool:
    return pair.pid != old


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_primary_killed_again_and_again_loses_nothing_and_does_nothing_twice(
    paired: RunningArchive, measured: Measured, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = paired.supervisor.postgres
    assert isinstance(pair, PostgresPair)
    folder = tmp_path_factory.mktemp("callbacks")
    with CallbackReceiver(paired.access.signing_secret, folder) as receiver:
        load = Load(paired, receiver.url)
        threads = [threading.Thread(target=work, daemon=True) for work in (load.upload, load.ask)]
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            paired.wait_for(lambda: pair.is_in_step, UP_S, "no standby")
            load.wait_for_more()
            old = pair.pid
            os.kill(old, signal.SIGKILL)
            paired.wait_for(partial(_is_replaced, pair, old), UP_S, "not promoted")
        load.wait_for_more()
        load.stop.set()
        for thread in threads:
            thread.join(60)
        came = callbacks_until(receiver, len(load.queries), CATCH_UP_S)
    images = load.images
    paired.wait_for(
        lambda: tagged_count(paired, "pair-") >= len(images), CATCH_UP_S, "photos were lost"
    )
    told = told_about_all(paired, images, IMAGES_TAGGED)
    measured(
        f"{KILLS} kills, {len(images)} uploads, {len(load.queries)} queries; uploads refused for"
        f" {[round(one, 2) for one in load.refused_s]} s (goal {MOST_REFUSED_S:.0f});"
        f" {duplicates(came)} webhooks and {told.duplicates} events twice on the wire"
    )
    assert len(set(images)) == len(images)
    assert {len(events) for events in told.ids.values()} == {1}, "an image was tagged twice"
    assert set(came) == set(load.queries), "an accepted query was not answered"
    assert {len(counts) for counts in came.values()} == {1}, "an answer had two webhook ids"
    assert paired.value("SELECT count(*) FROM dead_letters") == 0
    assert paired.value("SELECT count(*) FROM forgotten") == 0
    forgetful = "SELECT count(*) FROM promotions WHERE missing_since IS NOT NULL"
    assert paired.value(forgetful) == 0, "each standby had everything"
    assert_progress_is_at_the_end(paired, "tagging")
    assert_progress_is_at_the_end(paired, "query")
