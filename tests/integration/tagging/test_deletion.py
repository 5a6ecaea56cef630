"""Images are deleted while they are tagged and queried: none returns, no answer is wrong."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from consumers.upkeep.repair import BestImagesRepair
from core.errors import DatabaseAway
from core.relevance.ranking import best
from core.storage import labels
from core.storage.archive import curation, image_deletion, images
from core.storage.best import ranking
from core.storage.pool import Pool
from core.tags import TagScore
from schemas.image import image_id_of
from tests.integration.relevance.archive import look_up, stored_images, upkeep
from tests.integration.tagging.archive import Archive, arrival
from tests.locks import until_blocked

IMAGES, DELETED = 40, 25
TAGGERS, PER_BATCH = 3, 8
SNAPSHOTS_AT_LEAST = 20
BY_SQL = """
UPDATE tagged_images SET tags = '[{"tag": "cat", "score": 0.5}]' WHERE image_id = $1
"""


def image_id(number: int) -> UUID:
    return image_id_of(f"file:p/{number}.jpg")


async def delete(pool: Pool, number: int) -> datetime | None:
    async with pool.transaction() as tx:
        return await image_deletion.delete(tx, image_id(number))


@dataclass
class Race:
    """All concurrent activities; `wrong` lists answers that differ from the oracle's."""

    archive: Archive
    chance: random.Random
    gone: set[int] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    snapshots: int = 0
    from_table: int = 0
    batches: int = 0
    wrong: list[str] = field(default_factory=list)

    async def tag(self) -> None:
        """Tag arrivals that were announced before any deletion, repeatedly."""
        while not self.done.is_set():
            numbers = self.chance.sample(range(IMAGES), PER_BATCH)
            await self.archive.tag(*(arrival(number) for number in numbers))
            self.batches += 1

    async def curate(self) -> None:
        """Change images by hand, by the archive's functions and by direct SQL."""
        while not self.done.is_set():
            chosen = image_id(self.chance.randrange(IMAGES))
            tag = TagScore(self.chance.choice(["cat", "dog", "beach"]), 500_000)
            async with self.archive.pool.transaction() as tx:
                await curation.set_tags(tx, chosen, [tag])
            async with self.archive.pool.transaction() as tx:
                await curation.exclude(tx, chosen, excluded=self.chance.random() < 0.1)
            await self.archive.pool.execute(BY_SQL, image_id(self.chance.randrange(IMAGES)))
            await asyncio.sleep(0.005)

    async def delete(self) -> None:
        for number in self.chance.sample(range(IMAGES), DELETED):
            seen = self.batches
            while self.batches == seen:  # taggers always run meanwhile
                await asyncio.sleep(0.001)
            assert await delete(self.archive.pool, number) is not None
            self.gone.add(number)
        while self.snapshots < SNAPSHOTS_AT_LEAST:
            await asyncio.sleep(0.01)
        self.done.set()

    async def repair(self) -> None:
        repairer = BestImagesRepair(self.archive.pool, is_softmax=True)
        while not self.done.is_set():
            try:
                await upkeep(self.archive.pool, repairer)
            except DatabaseAway as error:
                if "LockNotAvailable" not in str(error):
                    raise  # a deadlock, for instance; a lock timeout is normal
            await asyncio.sleep(0.005)

    async def ask(self, url: str) -> None:
        """Compare with exact sums inside one snapshot, without images deleted before it."""
        label_ids = sorted((await labels.known(self.archive.pool, await self._names())).values())
        connection = await asyncpg.connect(url)
        try:
            while not self.done.is_set():
                gone = [image_id(number) for number in self.gone]
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await self._compare(connection, label_ids, gone)
                self.snapshots += 1
        finally:
            await connection.close()

    async def _compare(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        label_ids: list[int],
        gone: list[UUID],
    ) -> None:
        stored = await stored_images(connection)
        left = await connection.fetchval(
            "SELECT count(*) FROM tagged_images WHERE image_id = ANY($1::uuid[])", gone
        )
        if left:
            self.wrong.append(f"{left} deleted images have tags")
        for _ in range(5):
            wanted = self.chance.sample(label_ids, self.chance.randint(1, 4))
            expected = best(stored, wanted)
            looked = await look_up(connection, wanted)
            self.from_table += looked.is_known
            if looked.is_known and looked.rank != expected:
                self.wrong.append(f"{wanted}: {looked.rank}, not {expected}")
            exact = await ranking.best(connection, wanted, ranking.Filters(top_n=1))
            score = exact[0].score if exact else None
            if score != (None if expected is None else expected.score):
                self.wrong.append(f"exact {wanted}: {exact}, not {expected}")

    async def _names(self) -> list[str]:
        return [row["name"] for row in await self.archive.pool.fetch("SELECT name FROM labels")]


async def test_what_is_deleted_while_it_is_tagged_stays_deleted_and_no_answer_is_wrong(
    archive: Archive, database_url: str
) -> None:
    seed = random.randrange(10**6)
    await archive.tag(*(arrival(number) for number in range(IMAGES)))
    race = Race(archive, random.Random(seed))

    async with asyncio.TaskGroup() as group:
        for _ in range(TAGGERS):
            group.create_task(race.tag())
        group.create_task(race.repair())
        group.create_task(race.curate())
        group.create_task(race.ask(database_url))
        group.create_task(race.delete())

    assert race.wrong == [], f"seed {seed}"
    kept = {f"p/{number}.jpg" for number in range(IMAGES) if number not in race.gone}
    assert set(await archive.rows()) == kept, f"seed {seed}"
    left = "SELECT count(*) FROM images WHERE status <> 'deleted'"
    assert await archive.pool.fetchval(left) == IMAGES - DELETED, f"seed {seed}"
    await assert_the_table_answers_alone(archive.pool)


async def assert_the_table_answers_alone(pool: Pool) -> None:
    """Check that after the repairs the table of best images has every answer, exactly."""
    repairer = BestImagesRepair(pool, is_softmax=True)
    while await upkeep(pool, repairer):
        pass
    stored = await stored_images(pool)
    for row in await pool.fetch("SELECT id FROM labels ORDER BY id"):
        looked = await look_up(pool, [row["id"]])
        assert looked.is_known
        assert looked.rank == best(stored, [row["id"]])


async def test_an_arrival_from_before_the_deletion_brings_nothing_back(archive: Archive) -> None:
    await archive.tag(arrival(1), arrival(2))
    prepared = await archive.prepare(arrival(1))
    await delete(archive.pool, 1)

    async with archive.pool.transaction() as tx:
        outcome = await archive.role.apply(prepared, tx)

    assert set(await archive.rows()) == {"p/2.jpg"}
    assert await images.status(archive.pool, image_id(1)) is None
    assert outcome.emitted == ()


async def test_an_image_that_comes_back_has_nothing_of_the_deleted_one(archive: Archive) -> None:
    pool = archive.pool
    async with pool.transaction() as tx:
        await images.accept(tx, image_id=image_id(1), uri="file:p/1.jpg", path="old", owner="ann")
    await archive.tag(arrival(1))
    await pool.execute("UPDATE images SET hand_tags = '[]', excluded = true")
    deleted_at = await delete(pool, 1)
    assert deleted_at is not None
    await pool.execute("UPDATE images SET deleted_at = '2026-04-01'")  # before the arrival

    await archive.tag(arrival(1, owner="bob"))

    status = await images.status(pool, image_id(1))
    assert status is not None
    assert (status.status, status.path) == ("tagged", "p/1.jpg")
    owners = await pool.fetch("SELECT owner FROM image_owners")
    assert [row["owner"] for row in owners] == ["bob"]
    assert status.uri == "file:p/1.jpg"
    assert (status.excluded, status.hand_tags) == (False, None)
    assert status.arrived_at > deleted_at
    assert await pool.fetchval("SELECT deleted_at FROM images") is None


async def test_who_changes_tags_by_sql_at_that_moment_is_waited_for(archive: Archive) -> None:
    pool = archive.pool
    await archive.tag(arrival(1))

    async with asyncio.TaskGroup() as group, pool.transaction() as tx:
        await tx.execute("SELECT FROM tagged_images WHERE image_id = $1 FOR UPDATE", image_id(1))
        deleting = group.create_task(delete(pool, 1))
        await until_blocked(pool, deleting)
        await tx.execute(BY_SQL, image_id(1))  # its trigger takes the image's rows in image_tags

    assert await deleting is not None
    assert await archive.rows() == {}
