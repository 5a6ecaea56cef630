"""`backup` and `restore` with servers that settings lead to: what is in one, what is refused."""

import gzip
import hashlib
import json
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from core.messaging.kafka.producer import Publisher
from core.settings import DatabaseSettings, KafkaSettings
from core.storage.backups import databases
from core.telemetry.metrics import Metrics
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED, IMAGES_ARRIVED
from tests.command import COMMAND
from tests.integration.site import Site
from tests.servers import at_database, execute, run_apart

KEY = "k" * 43 + "="
PHOTO = b"bytes of a photo"
LIMIT_S = 240.0  # of a command, which starts PostgreSQL's programs in its turn

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def restored_url(postgres_url: str) -> Iterator[str]:
    """Where a backup is restored to: a database that is not there yet."""
    name = f"restored_{uuid.uuid4().hex[:10]}"
    yield at_database(postgres_url, name)
    run_apart(execute(postgres_url, f"DROP DATABASE IF EXISTS {name}"))


async def back_up(site: Site, folder: Path, *options: str, code: int = 0, **more: str) -> str:
    variables = {"SECRETS_KEY": KEY, **more}
    ended, output, errors = await site.run(
        COMMAND, "backup", str(folder), *options, limit_s=LIMIT_S, **variables
    )
    assert ended == code, errors
    return errors if code else output


async def restore(
    site: Site, folder: Path, url: str, *options: str, code: int = 0, **more: str
) -> str:
    variables = {"DATABASE_URL": url, "SECRETS_KEY": KEY, **more}
    ended, output, errors = await site.run(
        COMMAND, "restore", str(folder), *options, limit_s=LIMIT_S, **variables
    )
    assert ended == code, errors
    return errors if code else output


async def test_only_its_owner_can_read_it_and_all_of_it_is_named_in_the_manifest(
    site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "b"

    said = await back_up(site, folder)

    manifest = json.loads((folder / "manifest.json").read_text())
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert "it holds the archive's keys" in said
    assert f"not in it: the photos in main={site.root}" in said
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in paths} == {*manifest["files"], "manifest.json"}
    assert (folder / "secrets.key").read_text().strip() == KEY
    for name, kept in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == kept["sha256"]
    assert "thumbs" not in manifest["rows"]
    assert manifest["rows"]["alembic_version"] == 1


async def test_a_folder_that_holds_anything_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("mine")

    said = await back_up(site, tmp_path / "b", code=2)
    elsewhere = await back_up(site, tmp_path / "no" / "b", code=2)

    assert "b is not empty" in said
    assert "No such file or directory" in elsewhere
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["letter.txt"]


async def test_one_that_was_cut_off_or_damaged_is_recognised(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    folder = tmp_path / "b"
    await back_up(site, folder)
    whole = await restore(site, folder, restored_url, "--check")
    cut, short, other = (tmp_path / name for name in ("cut", "short", "other"))
    for copy in (cut, short, other):
        shutil.copytree(folder, copy)
    (cut / "manifest.json").unlink()
    dump = (folder / "database.dump").read_bytes()
    (short / "database.dump").write_bytes(dump[:-100])
    (other / "database.dump").write_bytes(dump[:-100] + b"?" * 100)

    for options in ((), ("--check",)):
        said = await restore(site, cut, restored_url, *options, code=2)
        assert "no manifest.json, which a backup writes last: it was cut off" in said
        said = await restore(site, short, restored_url, *options, code=2)
        assert f"{len(dump) - 100} bytes, and {len(dump)} were written" in said
        said = await restore(site, other, restored_url, *options, code=2)
        assert "its content is not what was written" in said
    assert "whole, of " in whole
    assert "there is no such folder" in await restore(site, tmp_path / "x", restored_url, code=2)


async def test_bytes_outside_of_postgresql_are_in_it_and_each_is_looked_at(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    digest = hashlib.sha256(PHOTO).hexdigest()
    place = Path(digest[:2], digest[2:4], digest)
    kept, anew = tmp_path / "kept", tmp_path / "anew"
    (kept / place).parent.mkdir(parents=True)
    (kept / place).write_bytes(PHOTO)
    (kept / "thumbs" / "small" / place).parent.mkdir(parents=True)
    (kept / "thumbs" / "small" / place).write_bytes(b"\xff\xd8")

    await back_up(site, tmp_path / "b", ARCHIVE_BLOBS=f"file:{kept}")
    refused = await restore(site, tmp_path / "b", restored_url, code=2, ARCHIVE_BLOBS="pg:")
    await restore(site, tmp_path / "b", restored_url, ARCHIVE_BLOBS=f"file:{anew}")
    (tmp_path / "b" / "bytes" / place).write_bytes(b"other")
    damaged = await restore(site, tmp_path / "b", restored_url, "--check", code=2)

    files = [path for path in anew.rglob("*") if path.is_file()]
    assert files == [anew / place]
    assert files[0].read_bytes() == PHOTO
    assert "ARCHIVE_BLOBS" in refused
    assert f"what is kept as {digest} has another hash" in damaged


async def test_records_that_nobody_processed_are_in_it_from_where_each_group_stands(
    site: Site, tmp_path: Path
) -> None:
    kafka = KafkaSettings(bootstrap_servers=site.bootstrap, topic_prefix=site.prefix)
    records = [
        Record(IMAGES_ARRIVED.name, b"key", (("ce_id", b"\xff"),), bytes([number]))
        for number in range(5)
    ]
    async with Publisher(kafka, Metrics(CollectorRegistry()), client_id="test") as sink:
        for record in records:
            await sink.publish([record])
    part = await _partition_of(site, b"\x00")
    await site.pool.execute(
        "INSERT INTO progress (grp, topic, part, next_offset) VALUES ('tagging', $1, $2, 3)",
        IMAGES_ARRIVED.name,
        part,
    )

    await back_up(site, tmp_path / "b")

    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    with gzip.open(tmp_path / "b" / "records.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    assert manifest["records"] == {"tagging": 2, "tagging-bulk": 0, "query": 0, "delivery": 0}
    assert [line["value"] for line in lines] == ["Aw==", "BA=="]
    assert lines[0]["headers"] == [["ce_id", "/w=="]]


async def _partition_of(site: Site, value: bytes) -> int:
    return next(
        int(record.partition)
        for record in await site.records(IMAGES_ARRIVED)
        if record.value == value
    )


async def test_it_can_be_written_where_kafka_is_lost_and_what_fails_leaves_an_empty_folder(
    site: Site, tmp_path: Path
) -> None:
    away = "127.0.0.1:9"

    failed = await back_up(site, tmp_path / "b", code=1, KAFKA_BOOTSTRAP_SERVERS=away)
    left = list((tmp_path / "b").iterdir())
    said = await back_up(site, tmp_path / "b", "--without-log", KAFKA_BOOTSTRAP_SERVERS=away)

    assert "BrokerAway" in failed
    assert left == []
    assert "what Kafka has and nobody has processed" in said


async def test_a_database_in_use_is_not_replaced_and_nobody_of_before_can_write_to_the_new_one(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    await site.pool.execute(
        "INSERT INTO progress (grp, topic, part, next_offset, epoch, owner, crashes)"
        " VALUES ('tagging', $1, 0, 0, 7, 'tagging-0', 3)",
        IMAGES_ARRIVED.name,
    )
    used = await site.pool.fetchval("SELECT last_value FROM outbox_id_seq")
    await back_up(site, tmp_path / "b")

    refused = await restore(site, tmp_path / "b", site.database_url, "--replace", code=2)
    await restore(site, tmp_path / "b", restored_url)
    there = await restore(site, tmp_path / "b", restored_url, code=2)

    rows = await _read(restored_url, "SELECT epoch, owner, crashes, next_offset FROM progress")
    assert "photo-archive are connected to its database" in refused
    assert "--replace puts the backup into its place" in there
    assert rows == [(1_000_007, "", 0, 0)]
    assert await _read(restored_url, "SELECT last_value > $1 FROM outbox_id_seq", used) == [(True,)]


async def _read(url: str, statement: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def test_another_key_than_the_backup_s_is_refused(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    await back_up(site, tmp_path / "b")
    other = "o" * 43 + "="

    refused = await restore(site, tmp_path / "b", restored_url, code=2, SECRETS_KEY=other)
    await restore(site, tmp_path / "b", restored_url, SECRETS_KEY=f"{other},{KEY}")
    await back_up(site, tmp_path / "two", SECRETS_KEY=f"{KEY},{other}")
    lacking = await restore(site, tmp_path / "two", restored_url, code=2)

    assert "SECRETS_KEY is another key than that of the backup" in refused
    assert KEY not in refused
    assert "lacks one of several" in lacking


async def test_a_backup_of_another_version_is_refused_before_anything_is_made(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    folder = tmp_path / "b"
    await back_up(site, folder)
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(told | {"schema_revision": "9999_later"}))

    refused = await restore(site, folder, restored_url, code=2)

    assert "of another version: its database has the schema 9999_later" in refused
    assert await _made_of(restored_url) == []


async def test_one_restore_at_a_time_and_nobody_prunes_before_the_log_is_read(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    await back_up(site, tmp_path / "b")
    async with databases.alone_here(DatabaseSettings(url=SecretStr(restored_url))):
        refused = await restore(site, tmp_path / "b", restored_url, code=2)
    made = await _made_of(restored_url)
    await restore(site, tmp_path / "b", restored_url)

    waits = "SELECT lease_until > now() + interval '6 days' FROM leases WHERE name = 'pruning'"
    assert "another `restore` into the database" in refused
    assert made == []
    assert await _read(restored_url, waits) == [(True,)]


async def test_what_a_killed_restore_and_its_programs_have_left_is_no_hindrance(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    await back_up(site, tmp_path / "b")
    name = databases.longer(_settings(restored_url), "_restoring")
    await execute(at_database(restored_url, "postgres"), f"CREATE DATABASE {name}")
    program = await asyncpg.connect(at_database(restored_url, name), timeout=30)

    await restore(site, tmp_path / "b", restored_url)

    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
        await program.execute("SELECT 1")
    program.terminate()
    assert await _made_of(restored_url) == [(databases.named(_settings(restored_url)),)]


def _settings(url: str) -> DatabaseSettings:
    return DatabaseSettings(url=SecretStr(url))


async def _made_of(url: str) -> list[Any]:
    """Databases that a restore into this one made."""
    name = databases.named(DatabaseSettings(url=SecretStr(url)))
    return await _read(
        at_database(url, "postgres"),
        "SELECT datname FROM pg_database WHERE datname LIKE $1 || '%'",
        name,
    )


async def test_a_log_that_lost_records_is_told_and_begun_anew_only_when_asked_for(
    site: Site, tmp_path: Path, restored_url: str
) -> None:
    await site.pool.execute(
        "INSERT INTO progress (grp, topic, part, next_offset) VALUES ('delivery', $1, 0, 9)",
        CALLBACKS_REQUESTED.name,
    )
    await back_up(site, tmp_path / "b")

    refused = await restore(site, tmp_path / "b", restored_url, code=2)
    await restore(site, tmp_path / "b", restored_url, "--new-kafka")

    assert (
        "callbacks.requested.v1, partition 0: the log ends at 0, before 9 of the backup" in refused
    )
    assert "--new-kafka" in refused
    assert await _read(restored_url, "SELECT count(*) FROM progress") == [(0,)]
