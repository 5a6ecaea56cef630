"""Backups of a running archive, and what archives that come of them do: real servers, all roles."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from standalone.demo.receiver import Callback, CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.e2e.homes import ArchiveHome, new_home, run
from tests.e2e.pictures import DatedPhoto, dated_photo
from tests.e2e.test_main_job import ask, upload
from tests.servers import make_home, run_apart

ANSWER_S = 60.0
#: All that is known for good: what processes say of themselves is left out.
ROWS = {
    "images": "image_id, path, status, sha256, taken_at",
    "tagged_images": "id, image_id, image_path, tags, model, created_at",
    "image_tags": "image_id, label_id, score",
    "queries": "query_id, text, status, answer",
    "deliveries": "delivery_id, state, attempt, url",
    "attempts": "delivery_id, attempt, status",
    "blobs": "sha256, size_bytes, content",
    "api_keys": "key_id, owner, digest",
    "progress": "grp, topic, part, next_offset, cluster_id",
}

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, slots=True)
class History:
    """An archive that was backed up while it ran, and then lived on.

    Attributes:
        home: at rest, at the end.
        backup: made in the middle.
        early: uploaded before; `first` is the answer to a question about it.
        late: a file, tagged after the backup; `second` is the answer to a question about it.
        lost: the id of an upload after the backup, whose bytes only the database had.
    """

    home: ArchiveHome
    backup: Path
    receiver: CallbackReceiver
    early: DatedPhoto
    first: Callback
    late: DatedPhoto
    second: Callback
    lost: str


def rows_of(archive: ArchiveHome) -> dict[str, list[Any]]:
    """What an archive at rest knows."""
    with archive.servers() as supervisor:
        return rows_at(supervisor.postgres.url)


def rows_at(url: str) -> dict[str, list[Any]]:
    """What the archive with this database knows."""
    return {
        table: sorted(map(repr, run_apart(_fetch(url, f"SELECT {columns} FROM {table}"))))
        for table, columns in ROWS.items()
    }


async def _fetch(url: str, statement: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def answer(receiver: CallbackReceiver) -> Callback:
    callback = receiver.take(ANSWER_S)
    assert callback is not None, f"no callback; refused: {receiver.refused}"
    return callback


def question_about(
    archive: RunningArchive, image_id: str, photo: DatedPhoto, receiver: CallbackReceiver
) -> Callback:
    """Ask for a photo by its best tag and its day; return the answer."""
    best = archive.tags_of(image_id)["tags"][0]["tag"]
    ask(archive, f"a picture of {best}", receiver.url, **photo.its_day)
    return answer(receiver)


def image_of(archive: RunningArchive, path: str) -> dict[str, Any] | None:
    found = archive.sql("SELECT image_id FROM images WHERE path = $1 AND status = 'tagged'", path)
    return archive.tags_of(str(found[0]["image_id"])) if found else None


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    """Live a while, back up, live on, stop."""
    place = make_home("backups")
    photos = place / "photos"
    photos.mkdir()
    home = new_home(photos)
    early, late = dated_photo(), dated_photo()
    with ExitStack() as stack:
        archive = stack.enter_context(home.running())
        secret = archive.access.signing_secret
        receiver = stack.enter_context(CallbackReceiver(secret, place / "callbacks"))
        entry = upload(archive, early)
        first = question_about(archive, entry["image_id"], early, receiver)
        _settled(archive, 1)

        done = archive.command("backup", str(place / "backup"))
        assert done.returncode == 0, done.stderr

        (photos / "late.jpg").write_bytes(late.content)
        done = archive.command("images", str(photos))
        assert done.returncode == 0, done.stderr
        found = image_of(archive, "photos/late.jpg")
        assert found is not None
        second = question_about(archive, found["image_id"], late, receiver)
        lost = upload(archive, dated_photo())["image_id"]
        archive.tags_of(lost)
        _settled(archive, 2)
        archive.supervisor.stop()
        yield History(home, place / "backup", receiver, early, first, late, second, lost)
    shutil.rmtree(place, ignore_errors=True)
    home.remove()


def _settled(archive: RunningArchive, delivered: int) -> None:
    """Wait until the records of these webhooks have been written down."""
    archive.wait_for(
        lambda: (
            archive.value("SELECT count(*) FROM deliveries WHERE state = 'delivered'") == delivered
        ),
        ANSWER_S,
        "webhooks were not recorded",
    )


def test_an_archive_at_rest_comes_back_alike_and_answers_alike(
    history: History, tmp_path: Path
) -> None:
    home = history.home.copy()
    before = rows_of(home)

    written = home.command("backup", str(tmp_path / "b"))
    refused = home.command("restore", str(tmp_path / "b"))
    restored = home.command("restore", str(tmp_path / "b"), "--replace", "--json")

    assert written.returncode == 0, written.stderr
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    assert restored.returncode == 0, restored.stderr
    told = json.loads(restored.stdout)
    assert (told["records_ahead"], told["repeated_webhooks"], told["new_kafka"]) == (0, 0, False)
    assert rows_of(home) == before
    with home.running() as archive:
        kept = archive.value("SELECT count(*) FROM pg_database WHERE datname LIKE '%_before_%'")
        data = history.first.body["data"]
        ask(archive, data["text"], history.receiver.url, **history.early.its_day)
        again = answer(history.receiver).body["data"]
    home.remove()
    assert kept == 1
    assert {**again, "query_id": ""} == {**data, "query_id": ""}


def test_what_the_backup_had_not_seen_is_done_again_with_the_same_ids(history: History) -> None:
    home = history.home.copy()

    restored = home.command("restore", str(history.backup), "--replace", "--json")

    assert restored.returncode == 0, restored.stderr
    told = json.loads(restored.stdout)
    assert told["records_ahead"] >= 4  # two arrivals, a question, its answer
    assert told["repeated_webhooks"] == 1
    with home.running() as archive:
        repeated = answer(history.receiver)
        found = archive.wait_for(
            lambda: image_of(archive, "photos/late.jpg"), ANSWER_S, "not tagged again"
        )
        assert found is not None
        lost = archive.tags_of(history.lost)
        _settled(archive, 2)
        assert archive.value("SELECT count(*) FROM queries WHERE status <> 'answered'") == 0
        assert archive.value("SELECT count(*) FROM deliveries") == 2
        query_id = repeated.body["data"]["query_id"]
        assert archive.http.get(f"/queries/{query_id}").status_code == 200, "its owner's still"
    home.remove()
    assert repeated == history.second
    assert found is not None
    assert found["image_id"] == history.second.body["data"]["image"]["id"]
    assert (lost["status"], lost["error"]["code"]) == ("failed", "image_missing")


def test_webhooks_can_be_held_back_and_sent_later(history: History) -> None:
    home = history.home.copy()

    restored = home.command(
        "restore", str(history.backup), "--replace", "--hold-deliveries", "--json"
    )

    assert restored.returncode == 0, restored.stderr
    told = json.loads(restored.stdout)
    assert told["repeated_webhooks"] == 1
    with home.running() as archive:
        archive.wait_for(lambda: image_of(archive, "photos/late.jpg"), ANSWER_S, "not tagged again")
        archive.wait_for(
            lambda: not archive.value("SELECT count(*) FROM queries WHERE status <> 'answered'"),
            ANSWER_S,
            "the question was not answered again",
        )
        held = archive.sql("SELECT state, reason FROM deliveries WHERE state <> 'delivered'")
        assert [tuple(row) for row in held] == [("dead", "held_after_restore")]
        sent = archive.command("deliveries", "redeliver", "--since", told["held_since"])
        assert sent.returncode == 0, sent.stderr
        later = answer(history.receiver)
    home.remove()
    assert later == history.second


def test_beside_a_new_kafka_it_says_what_to_do_and_does_it_when_told(
    history: History, tmp_path: Path
) -> None:
    home = history.home.copy()
    waiting = dated_photo()
    (history.home.photos / "waiting.jpg").write_bytes(waiting.content)
    with home.servers() as supervisor:  # no role runs: the arrival waits in Kafka
        environment = supervisor.environment()
        announced = run(("images", str(home.photos), "--no-wait"), environment)
        written = run(("backup", str(tmp_path / "b")), environment)
    home.remove()
    assert announced.returncode == written.returncode == 0, announced.stderr + written.stderr
    new = new_home(home.photos)

    refused = new.command("restore", str(tmp_path / "b"))
    restored = new.command("restore", str(tmp_path / "b"), "--new-kafka", "--json")

    assert refused.returncode == 2
    assert "--new-kafka" in refused.stderr
    assert restored.returncode == 0, restored.stderr
    told = json.loads(restored.stdout)
    assert told["new_kafka"]
    assert told["published_again"] == 2  # late.jpg is announced with its folder
    with new.running() as archive:
        found = archive.wait_for(
            lambda: image_of(archive, "photos/waiting.jpg"), ANSWER_S, "it was never tagged"
        )
        assert found is not None
        later = question_about(archive, found["image_id"], waiting, history.receiver)
        data = history.first.body["data"]
        ask(archive, data["text"], history.receiver.url, **history.early.its_day)
        again = answer(history.receiver).body["data"]
        archive.wait_for(
            lambda: not archive.value("SELECT count(*) FROM outbox"), ANSWER_S, "outbox"
        )
    new.remove()
    assert later.body["data"]["image"]["path"] == "photos/waiting.jpg"
    assert {**again, "query_id": ""} == {**data, "query_id": ""}


def test_nothing_is_restored_over_a_running_archive(history: History) -> None:
    home = history.home.copy()
    with home.servers():
        refused = home.command("restore", str(history.backup), "--replace")
    home.remove()

    assert refused.returncode == 2
    assert "is in use by process" in refused.stderr
