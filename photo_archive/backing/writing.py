"""Write a backup: one moment of the database, and all that it needs beside it.

Everything is written into the folder, read again, and named by a manifest, which comes last.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import ConfigurationError, TransientError
from core.settings import all_variables, given
from core.storage.backups.snapshots import LEFT_OUT, Snapshot, snapshot
from photo_archive.backing import log, photos, programs
from photo_archive.backing.manifest import (
    BYTES,
    DATABASE,
    FILE_NAME,
    HOME,
    HOME_FILES,
    KEY,
    RECORDS,
    SETTINGS,
    Manifest,
    described,
)
from photo_archive.backing.places import ArchivePlace
from photo_archive.backing.records import unread, write_records
from photo_archive.backing.showing import StepDisplay

#: Settings of the place where an archive is, not of the archive; secrets among them.
_OF_THE_PLACE = ("DATABASE_", "KAFKA_", "STANDALONE_", "SECRETS_", "CONSUMER_INSTANCE")


class BackupCutShort(TransientError):
    """Something outside failed while a backup was written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A backup that is being written.

    Attributes:
        folder: empty, and ours alone.
        with_log: whether the records that nobody processed are written too.
    """

    place: ArchivePlace
    folder: Path
    show: StepDisplay
    with_log: bool

    async def write(self) -> Manifest:
        """Write everything; return what is in it.

        Raises:
            ConfigurationError: what is to be copied is damaged, or a program is missing.
            TransientError: PostgreSQL, Kafka or the place of the bytes is away.
        """
        made_at = datetime.now(UTC)
        async with snapshot(self.place.database) as moment:
            # The log is read behind the moment: what was published before and is not in the rows is
            # there, and some of what came since, which does no harm.
            records, cluster_id = await self._records(moment)
            await self._database(moment)
        kept, kept_bytes = await self._photos()
        names = [DATABASE, RECORDS, *self._small_files()]
        manifest = Manifest(
            made_at=made_at.isoformat(timespec="seconds"),
            postgresql=moment.server,
            schema_revision=moment.revision,
            rows=moment.rows,
            cluster_id=cluster_id,
            records=records,
            photos=kept,
            photos_bytes=kept_bytes,
            kept_in=self.place.archive.blobs.partition(":")[0] + ":",
            roots=self.place.archive.roots,
            files=described(self.folder, sorted(names)),
        )
        await self._check(manifest)
        self._finish(manifest)
        return manifest

    async def _records(self, moment: Snapshot) -> tuple[Mapping[str, int], str]:
        path = self.folder / RECORDS
        async with self.show.step("records", grows=path):
            if not self.with_log:
                return await write_records(path, unread(self.place.kafka, {})), ""
            kafka = await log.look(self.place.kafka)
            found = unread(self.place.kafka, kafka.ahead(moment.progress))
            return await write_records(path, found), kafka.cluster_id

    async def _database(self, moment: Snapshot) -> None:
        path = self.folder / DATABASE
        async with self.show.step("database", grows=path):
            await programs.run(
                programs.find("pg_dump", server=moment.server),
                (
                    "--format=custom",
                    "--compress=gzip:1",  # most bytes are pictures
                    "--no-owner",
                    "--no-privileges",
                    "--exclude-extension=vector",  # only a superuser may restore what it says
                    f"--snapshot={moment.token}",
                    *(f"--exclude-table-data={table}" for table in LEFT_OUT),
                    f"--file={path}",
                ),
                self.place.database,
            )

    async def _photos(self) -> tuple[int | None, int]:
        if photos.are_rows(self.place.archive.blobs):
            return None, 0
        _make(self.folder / BYTES)
        async with self.show.step("photos") as show:
            return await photos.copy_out(self.place.archive, self.folder / BYTES, show)

    def _small_files(self) -> list[str]:
        """Write what is small; return the names."""
        names = [SETTINGS]
        lines = [f"{name}={value}\n" for name, value in sorted(_settings().items())]
        (self.folder / SETTINGS).write_text("".join(lines))
        if self.place.key:
            (self.folder / KEY).write_text(f"{self.place.key}\n")
            names.append(KEY)
        if self.place.home is not None:
            _make(self.folder / HOME)
            for name in HOME_FILES:
                source = self.place.home / name
                if source.exists():
                    (self.folder / HOME / name).write_bytes(source.read_bytes())
                    names.append(f"{HOME}/{name}")
        return names

    async def _check(self, manifest: Manifest) -> None:
        """Read again what was written: the whole of the database's part is unpacked."""
        async with self.show.step("checking"):
            await photos.check_all(self.folder / BYTES, manifest.photos)
            program = programs.find("pg_restore", server=0)
            await programs.run(program, (f"--file={os.devnull}", str(self.folder / DATABASE)))

    def _finish(self, manifest: Manifest) -> None:
        partial = self.folder / f"{FILE_NAME}.new"
        with partial.open("w") as file:
            file.write(manifest.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.folder / FILE_NAME)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make the folder of a backup, which only we can read; one that is there must be empty.

    Raises:
        ConfigurationError: it has something in it, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigurationError(
                f"{folder} is not empty, and a backup overwrites nothing: name a new folder"
            )
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}") from error


@contextmanager
def emptied_unless_done(folder: Path) -> Iterator[None]:
    """Remove what was written into the folder of a backup where that fails: all of it is ours.

    Raises:
        BackupCutShort: a server went away, or a program that needs it failed.
    """
    try:
        yield
    except TransientError as error:
        _empty(folder)
        raise BackupCutShort(
            f"{_first_line(error)}; there is no backup, {folder} is empty again: when the servers"
            " answer, run it again"
        ) from error
    except BaseException:
        _empty(folder)
        raise


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _first_line(error: TransientError) -> str:
    """Return what happened; a program of PostgreSQL says in further lines what it may mean."""
    said = (str(error).splitlines() or [""])[0]
    return said if isinstance(error, programs.ProgramFailed) else f"{type(error).__name__}: {said}"


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700)


def _settings() -> dict[str, str]:
    """Return the settings that were chosen, for who sets up the next place."""
    chosen = given()
    return {
        name: chosen[name]
        for name in all_variables() & chosen.keys()
        if not name.startswith(_OF_THE_PLACE)
    }
