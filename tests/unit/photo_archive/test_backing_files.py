"""Backups: which files one may bring, whom PostgreSQL's programs reach, what a home gets."""

import hashlib
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.blobs.keepers import DirectoryKeeper
from core.errors import ConfigurationError, ImageMissing
from core.settings import ArchiveSettings, DatabaseSettings
from core.storage.backups import databases
from photo_archive.backing import photos, programs
from photo_archive.backing.home import HomeFiles
from photo_archive.backing.manifest import Manifest, described, read_manifest

PHOTO = b"bytes of a photo"


def manifest(folder: Path, *names: str) -> Manifest:
    return Manifest(
        made_at="2026-11-30T12:00:00+00:00", postgresql=18, schema_revision="0001_schema",
        rows={}, cluster_id="", records={}, photos=None, photos_bytes=0, kept_in="pg:", roots="",
        files=described(folder, list(names)),
    )  # fmt: skip


def database(url: str) -> DatabaseSettings:
    return DatabaseSettings.model_construct(url=SecretStr(url))


@pytest.mark.parametrize(
    "name",
    ["home/../../x", "home//etc/x", "/etc/x", "home/env.sh", "home/postgres/x", "../secrets.key"],
)
def test_a_backup_brings_no_file_that_backups_have_not(tmp_path: Path, name: str) -> None:
    """Each is copied into the home under its name: others would lead out of it."""
    told = manifest(tmp_path).model_dump() | {"files": {name: {"bytes": 1, "sha256": "0"}}}
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(ConfigurationError, match="is no file of a backup"):
        read_manifest(tmp_path)


def test_a_home_keeps_what_it_had_and_never_lacks_a_key(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "b"
    (folder / "home").mkdir(parents=True)
    home.mkdir()
    (folder / "secrets.key").write_text("new\n")
    (folder / "home" / "roots").write_text("main=/photos\n")
    (home / "secrets.key").write_text("old\n")

    files = HomeFiles(home, folder, manifest(folder, "secrets.key", "home/roots"))
    before = (home / "secrets.key").read_text()
    files.put_in_place()

    kept = [path for path in home.iterdir() if path.name.startswith("secrets.key.before-")]
    assert before == "old\n"
    assert [path.read_text() for path in kept] == ["old\n"]
    assert (home / "secrets.key").read_text() == "new\n"
    assert sorted(path.name for path in home.iterdir() if path not in kept) == [
        "roots",
        "secrets.key",
    ]
    assert stat.S_IMODE((home / "secrets.key").stat().st_mode) == 0o600


def test_files_that_are_not_wanted_after_all_leave_nothing(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "b"
    for each in (home, folder):
        each.mkdir()
    (folder / "secrets.key").write_text("new\n")

    HomeFiles(home, folder, manifest(folder, "secrets.key")).forget()

    assert list(home.iterdir()) == []


async def test_a_photo_that_goes_while_they_are_copied_ends_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "b"
    for each in (kept, folder):
        each.mkdir()
    digest, gone = hashlib.sha256(PHOTO).digest(), b"\x00" * 32
    await DirectoryKeeper(kept).put(digest, PHOTO, None)
    listed = DirectoryKeeper.kept

    async def with_one_that_goes(
        keeper: DirectoryKeeper, after: bytes, limit: int
    ) -> Sequence[bytes]:
        found = await listed(keeper, after, limit)
        return found if after else (gone, *found)

    monkeypatch.setattr(DirectoryKeeper, "kept", with_one_that_goes)
    archive = ArchiveSettings.model_construct(blobs=f"file:{kept}")
    with pytest.raises(ImageMissing):
        await DirectoryKeeper(kept).read(gone, max_bytes=1)

    assert await photos.copy_out(archive, folder, lambda _: None) == (1, len(PHOTO))


async def test_a_photo_that_a_backup_lost_is_missed(tmp_path: Path) -> None:
    await DirectoryKeeper(tmp_path).put(hashlib.sha256(PHOTO).digest(), PHOTO, None)

    await photos.check_all(tmp_path, 1)
    with pytest.raises(ConfigurationError, match="1 photos, and 2 were written"):
        await photos.check_all(tmp_path, 2)


def test_programs_show_no_password_and_reach_the_server_that_takes_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PGHOSTADDR", "PGSERVICE", "PGOPTIONS"):
        monkeypatch.setenv(name, "elsewhere")
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGPASSFILE"):
        monkeypatch.setenv(name, "kept")
    url = "postgresql://app:S3%23cr@[::1]:5432,[::2]:5433/db?sslmode=require&application_name=x"
    other = "postgresql://h/db?user=app&password=S3%23cr"

    arguments, variables = programs._connection(database(url))
    in_query, of_query = programs._connection(database(other))
    environment = programs._environment()

    assert arguments == [
        "--dbname=postgresql://app@[::1]:5432,[::2]:5433/db?sslmode=require&application_name=x"
    ]
    assert in_query == ["--dbname=postgresql://h/db?user=app"]
    assert variables == of_query
    assert variables == {"PGTARGETSESSIONATTRS": "read-write", "PGPASSWORD": "S3#cr"}
    assert {name for name in environment if name.startswith("PG")} == {
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGPASSFILE",
    }


def test_a_database_beside_is_never_taken_for_the_one_that_is_there() -> None:
    """PostgreSQL cuts a name behind 63 bytes: `…_restoring` would be the archive's own."""
    url = "postgresql://app@[::1]:5432,[::2]:5433/{}?sslmode=require"
    settings = database(url.format("archive"))

    assert databases.named(settings) == "archive"
    assert databases.longer(settings, "_restoring") == "archive_restoring"
    assert databases.beside(settings, "a b").url.get_secret_value() == url.format("a%20b")
    with pytest.raises(ConfigurationError, match="give the database a shorter name"):
        databases.longer(database(url.format("a" * 63)), "_restoring")
    with pytest.raises(ConfigurationError, match="names no database"):
        databases.named(database("postgresql://app@h?sslmode=require"))
