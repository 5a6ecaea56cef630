"""Records published directly: good ones are tagged, each bad one becomes a dead letter."""

import base64
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from schemas.image import INLINE_MAX_BYTES, image_id_of
from schemas.topics import IMAGES_ARRIVED, dead_letter_topic
from tests.e2e.archive import RunningArchive
from tests.fakes.pictures import endless_jpeg, jpeg

SCRIPT = Path(__file__).with_name("direct_producer.py")
BAD = ("malformed", "nul", "killer", "wrong-version", "not-an-image")
TIMEOUT_S = 60.0
FLOOD = 250  # of the latest 200 records of a partition at most half may be dead letters


@dataclass(frozen=True, slots=True)
class Sent:
    """The records that a producer published; their keys begin with `run`."""

    run: str
    inline: bytes
    file_uri: str


def record(key: str, value: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return one record for the script."""
    return {"key": key, "headers": headers or {}, "value": base64.b64encode(value).decode()}


@pytest.fixture(scope="module")
def sent(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Publish two good records with bad ones between them, by a program without our code."""
    run = f"direct-{archive.home.name}"
    folder = archive.photos / "direct"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(90_001))
    inline = jpeg(90_002)
    killer = endless_jpeg(scans=3500)
    assert len(killer) < INLINE_MAX_BYTES
    nul = json.dumps({"uri": "file:photos/direct/a.jpg", "labels": ["cat", "do\0g"]}).encode()
    json_event = json.dumps({"uri": "file:photos/direct/a.jpg", "labels": ["cat", "dog"]}).encode()
    publish(
        archive,
        tmp_path_factory.mktemp("direct") / "records.json",
        [
            record(f"{run}/malformed", b'{"uri": "file:photos/dir'),
            record(f"{run}/killer", killer, {"content-type": "image/jpeg", "path": "killer.jpg"}),
            record(f"{run}/json", json_event),
            record(f"{run}/nul", nul),
            record(
                f"{run}/wrong-version", json_event, {"ce_type": "photoarchive.image.arrived.v9"}
            ),
            record(f"{run}/not-an-image", b"just text", {"content-type": "image/png"}),
            record(f"{run}/inline", inline, {"content-type": "image/jpeg", "path": "straight.jpg"}),
        ],
    )
    return Sent(run, inline, "file:photos/direct/a.jpg")


def publish(archive: RunningArchive, file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Publish records by the foreign producer."""
    file.write_text(json.dumps(records))
    done = archive.run(sys.executable, str(SCRIPT), archive.bootstrap, str(file))
    assert done.returncode == 0, done.stderr


def letters(archive: RunningArchive, sent: Sent) -> dict[str, list[Any]]:
    """Return the dead letters of this run by the last part of their key, oldest first."""
    rows = archive.sql(
        "SELECT convert_from(key, 'UTF8') AS key, reason, detail, headers, value, replayed_at"
        " FROM dead_letters WHERE starts_with(convert_from(key, 'UTF8'), $1) ORDER BY id",
        f"{sent.run}/",
    )
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["key"].rpartition("/")[2], []).append(row)
    return found


def wait_for_letters(archive: RunningArchive, sent: Sent, each: int) -> dict[str, list[Any]]:
    """Wait until each bad record has `each` dead letters; return those of this run."""

    def complete() -> dict[str, list[Any]] | None:
        found = letters(archive, sent)
        return found if all(len(found.get(name, ())) >= each for name in BAD) else None

    return archive.wait_for(complete, TIMEOUT_S, "dead letters are missing") or {}


def test_the_good_records_are_tagged(archive: RunningArchive, sent: Sent) -> None:
    inline_uri = f"blob:{hashlib.sha256(sent.inline).hexdigest()}"
    by_json = archive.tags_of(str(image_id_of(sent.file_uri)))
    raw = archive.tags_of(str(image_id_of(inline_uri)))

    assert by_json["status"] == raw["status"] == "tagged"
    assert {tag["tag"] for tag in by_json["tags"]} == {"cat", "dog"}
    assert raw["image_path"] == "straight.jpg"
    kept = archive.http.get(f"/images/{raw['image_id']}/content")
    assert kept.content == sent.inline


def test_each_bad_record_is_a_dead_letter_with_its_reason_and_bytes(
    archive: RunningArchive, sent: Sent
) -> None:
    pids = archive.pids()

    found = wait_for_letters(archive, sent, each=1)

    assert set(found) == set(BAD)
    reasons = {name: rows[0]["reason"] for name, rows in found.items()}
    assert reasons == {
        "malformed": "undecodable_event",
        "nul": "undecodable_event",
        "killer": "decoder_timeout",
        "wrong-version": "unknown_schema_version",
        "not-an-image": "not_an_image",
    }
    assert "NUL" in found["nul"][0]["detail"]
    assert found["malformed"][0]["value"] == b'{"uri": "file:photos/dir'
    assert archive.pids() == pids, "a bad record ended a process"


def test_the_dead_letter_topic_has_a_copy_with_the_place_and_the_reason(
    archive: RunningArchive, sent: Sent
) -> None:
    expected = wait_for_letters(archive, sent, each=1)
    topic = dead_letter_topic(IMAGES_ARRIVED.name, "tagging")

    def copied() -> dict[str, Any]:
        ours = {
            record.key.decode().rpartition("/")[2]: record
            for record in archive.topic(topic)
            if record.key and record.key.startswith(sent.run.encode())
        }
        return ours if set(ours) == set(BAD) else {}

    copies = archive.wait_for(copied, TIMEOUT_S, "copies are missing on the topic")
    for name, copy in copies.items():
        assert copy.header("dlq_reason") == expected[name][0]["reason"]
        assert copy.header("dlq_topic") == IMAGES_ARRIVED.name
        assert copy.value == bytes(expected[name][0]["value"])


def test_replay_puts_them_back_where_they_fail_again_and_are_counted(
    archive: RunningArchive, sent: Sent
) -> None:
    before = wait_for_letters(archive, sent, each=1)

    done = archive.command("letters", "replay", IMAGES_ARRIVED.name)

    assert done.returncode == 0, done.stderr
    found = wait_for_letters(archive, sent, each=2)
    for name, (first, second) in found.items():
        assert first["replayed_at"] is not None
        assert second["replayed_at"] is None
        assert first["reason"] == second["reason"]
        assert first["value"] == second["value"] == before[name][0]["value"]
    row = archive.sql("SELECT * FROM failures WHERE reason = 'decoder_timeout'")
    killed: UUID = row[0]["image_id"]
    assert len(row) == 1
    assert row[0]["attempts"] == 2
    assert archive.tags_of(str(killed))["error"]["code"] == "decoder_timeout"


def test_a_flood_of_pictures_that_cannot_be_read_does_not_stop_those_behind_it(
    archive: RunningArchive, tmp_path: Path
) -> None:
    """Otherwise anyone who may upload could halt tagging, since over half of 200 records fail."""
    (archive.photos / "behind.jpg").write_bytes(jpeg(90_003))
    names = [f"nowhere/{number}.jpg" for number in range(FLOOD)] + ["behind.jpg"]
    uris = [f"file:photos/{name}" for name in names]
    one_partition = f"flood-{archive.home.name}"
    records = [record(one_partition, json.dumps({"uri": uri}).encode()) for uri in uris]

    publish(archive, tmp_path / "flood.json", records)

    assert archive.tags_of(str(image_id_of(uris[-1])))["status"] == "tagged"
    failed = "SELECT count(*) FROM images WHERE path LIKE 'photos/nowhere/%' AND status = 'failed'"
    assert archive.value(failed) == FLOOD
