"""Restore a backup: beside what is there, checked, and put into its place in one step.

Until that step nothing of the archive that is there has changed, and behind it its database is kept
under another name. A home's files follow that step. Who is killed anywhere leaves a note, without
whose end nobody starts the home: the same command begins anew, or ends what was begun.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from consumers.upkeep.requested import Requested, requested
from core.errors import ConfigurationError
from core.failpoints import reach
from core.settings import DatabaseSettings
from core.storage.backups import databases, settling
from core.storage.backups.snapshots import count_rows, standings
from core.storage.connecting import alone
from core.transaction import Transaction
from photo_archive.backing import fitting, log, photos, programs, records
from photo_archive.backing.home import HomeFiles
from photo_archive.backing.log import Log
from photo_archive.backing.manifest import (
    BYTES,
    DATABASE,
    RECORDS,
    Manifest,
)
from photo_archive.backing.noting import Noting
from photo_archive.backing.places import ArchivePlace
from photo_archive.backing.showing import StepDisplay
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED

_AT_ONCE = 200  # records of up to a megabyte each


@dataclass(frozen=True, slots=True)
class RestoreWish:
    """What a person asked for.

    Attributes:
        replaces: whether an archive that is there gives way; its database is kept.
        new_kafka: whether Kafka may be another one than the backup's, or have lost records.
        holds: whether webhooks that may have been sent since are kept back.
    """

    replaces: bool = False
    new_kafka: bool = False
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it.

    Attributes:
        kept: the name of the database that was there; empty: none.
        is_log_new: whether the groups begin at the start of Kafka's log.
        unlike: why they do.
        ahead: how many records Kafka has that are done now, by what lies ahead of the backup.
        republished: how many records of the backup are published again.
        repeats: how many webhooks may be sent a second time, or are held back.
        held_since: the time behind which those that were held back ended; None: none were.
    """

    manifest: Manifest
    kept: str
    is_log_new: bool
    unlike: tuple[str, ...]
    ahead: int
    republished: int
    repeats: int
    held_since: datetime | None


_OUTCOME = TypeAdapter(Restored)


@dataclass(frozen=True, slots=True)
class Restoring:
    """A restore of a backup whose files were checked.

    Attributes:
        place: where to; nobody works there.
        noting: says in the home how far it is.
    """

    place: ArchivePlace
    folder: Path
    manifest: Manifest
    wish: RestoreWish
    noting: Noting
    show: StepDisplay

    async def restore(self) -> Restored:
        """Do everything; return what came of it.

        Raises:
            ConfigurationError: it cannot be done here, or only when told; nothing was changed.
            TransientError: PostgreSQL or Kafka is away, or a program failed; the same.
        """
        fitting.check(self.place, self.folder, self.manifest)
        async with databases.alone_here(self.place.database):
            made = databases.beside(
                self.place.database, databases.longer(self.place.database, "_restoring")
            )
            done = None if await databases.is_there(made) else self.noting.cut_off()
            if done is not None:
                return self._end(_OUTCOME.validate_python(done), self._home_files())
            self.noting.nothing_is_in_place()
            return await self._beside(made)

    async def _beside(self, made: DatabaseSettings) -> Restored:
        """Make a database beside the one that is there, and put it in place."""
        await databases.check_unused(self.place.database)
        keep = await self._kept_name()
        kafka = await log.look(self.place.kafka)
        self._check_log(kafka.unlike({}, self.manifest.cluster_id))
        await databases.drop_unfinished(made)  # of a restore that was killed
        await databases.make(made)
        reach("restore.made")
        files = None
        try:
            restored = await self._fill(made, kafka, keep)
            reach("restore.filled")
            await self._photos()
            reach("restore.copied")
            files = self._home_files()
            self.noting.put_in_place_now(_OUTCOME.dump_python(restored, mode="json"))
            reach("restore.ready")
            await self._swap(made, keep)
        except BaseException:
            if await databases.is_there(made):  # else it is in its place, though nobody heard so
                self.noting.nothing_is_in_place()
                if files is not None:
                    files.forget()
                await databases.drop_unfinished(made)
            raise
        reach("restore.swapped")
        return self._end(restored, files)

    def _home_files(self) -> HomeFiles | None:
        if self.place.home is None:
            return None
        return HomeFiles(self.place.home, self.folder, self.manifest)

    def _end(self, restored: Restored, files: HomeFiles | None) -> Restored:
        """Do what follows when the database is in its place."""
        if files is not None:
            files.put_in_place()
        reach("restore.settled")
        self.noting.end()
        return restored

    async def _swap(self, made: DatabaseSettings, keep: str) -> None:
        place = self.place.database
        if not keep and await databases.is_there(place):
            await databases.drop(place)  # it is empty
        await databases.put_in_place(made, place, keep=keep)

    # -- before anything is changed

    async def _kept_name(self) -> str:
        """Return what the database that is there will be called; empty where there is none."""
        place = self.place.database
        if not await databases.is_there(place) or not await databases.has_tables(place):
            return ""
        name = databases.named(place)
        if not self.wish.replaces:
            raise ConfigurationError(
                f"an archive is there already (database {name}): --replace puts the backup into its"
                " place and keeps its database under another name"
            )
        return databases.longer(place, f"_before_{datetime.now(UTC):%Y%m%d_%H%M%S}")

    def _check_log(self, unlike: Iterable[str]) -> None:
        found = list(unlike)
        if found and not self.wish.new_kafka:
            more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
            raise ConfigurationError(
                f"Kafka at {self.place.kafka.bootstrap_servers} is not where the backup left off:"
                f" {'; '.join(found[:3])}{more}. With --new-kafka every group begins at the start"
                f" of the log that is here, and the {sum(self.manifest.records.values())} records"
                " of the backup that nobody had processed are published again; nothing is applied"
                " twice. Or set KAFKA_BOOTSTRAP_SERVERS to the Kafka of the backup"
            )

    # -- the database, beside the one that is there

    async def _fill(self, made: DatabaseSettings, kafka: Log, keep: str) -> Restored:
        async with self.show.step("database"):
            await programs.run(
                programs.find("pg_restore", server=await databases.version(made)),
                (
                    "--exit-on-error",
                    "--no-owner",
                    "--no-privileges",
                    "--jobs=2",
                    str(self.folder / DATABASE),
                ),
                made,
            )
        async with alone(made) as connection:
            self._check_rows(await count_rows(connection))
            where = await standings(connection)
            unlike = tuple(kafka.unlike(where, self.manifest.cluster_id))
            self._check_log(unlike)
            ahead = kafka.ahead({} if unlike else where)
            await connection.execute(settling.BEGIN)
            await settling.settle(connection, is_log_new=bool(unlike))
            found = requested(self._found(kafka, where, is_log_new=bool(unlike)))
            repeats, held_since = await self._webhooks(connection, found)
            republished = await self._publish_again(connection) if unlike else 0
            await connection.execute("COMMIT")
            await connection.execute("ANALYZE")
        return Restored(
            manifest=self.manifest,
            kept=keep,
            is_log_new=bool(unlike),
            unlike=unlike,
            ahead=sum(end - start for start, end in ahead.values() if end > start),
            republished=republished,
            repeats=repeats,
            held_since=held_since,
        )

    def _check_rows(self, found: dict[str, int]) -> None:
        for table, rows in self.manifest.rows.items():
            if found.get(table) != rows:
                raise ConfigurationError(
                    f"{self.folder / DATABASE}: {table} came out with {found.get(table)} rows, and"
                    f" had {rows}: the backup is damaged"
                )

    async def _found(
        self, kafka: Log, where: log.Standings, *, is_log_new: bool
    ) -> AsyncIterator[Record]:
        """Yield the requests for webhooks that the archive will meet."""
        if is_log_new:
            for one in records.read_records(self.folder / RECORDS):
                yield one.record
            return
        wanted = {
            partition: stretch
            for partition, stretch in kafka.ahead(where).items()
            if partition.topic == CALLBACKS_REQUESTED.name
        }
        async for one in records.unread(self.place.kafka, wanted):
            yield one.record

    async def _webhooks(
        self, connection: Transaction, found: AsyncIterator[Requested]
    ) -> tuple[int, datetime | None]:
        """Keep the answers; return how many webhooks may be repeated, and since when some wait."""
        repeats = await settling.count_open(connection)
        async for portion in found:
            await settling.keep_answers(connection, portion)
            repeats += await settling.count_new(connection, portion)
            if self.wish.holds:
                await settling.schedule(connection, portion)
        if not self.wish.holds:
            return repeats, None
        await settling.hold(connection)
        since: datetime = await connection.fetchval("SELECT now()")
        return repeats, since

    async def _publish_again(self, connection: Transaction) -> int:
        count, portion = 0, []
        for one in records.read_records(self.folder / RECORDS):
            portion.append(one.record)
            count += 1
            if len(portion) == _AT_ONCE:
                await settling.publish_again(connection, portion)
                portion = []
        await settling.publish_again(connection, portion)
        return count

    # -- what lies beside it

    async def _photos(self) -> None:
        if self.manifest.photos is None:
            return
        async with self.show.step("photos") as show:
            found = await photos.copy_in(self.folder / BYTES, self.place.archive, show)
        photos.check_count(self.folder / BYTES, found, self.manifest.photos)
