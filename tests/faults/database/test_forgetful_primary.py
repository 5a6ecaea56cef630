"""A standby that lacks the last commits is promoted, while processes of before are alive.

How many runs: FORGETFUL_RUNS, 3 when not set.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest

from core.messaging.cloudevents import encode
from core.settings import KafkaSettings
from core.storage.stream import promotions
from core.transaction import Transaction
from schemas.image import ImageArrived, image_id_of
from schemas.topics import IMAGES_ARRIVED
from standalone.ports import HOST
from standalone.postgres.server import EmbeddedPostgres
from tests.faults.harness.archive_to_kill import ArchiveToKill, archive_to_kill
from tests.faults.harness.ledger import Batch
from tests.measured import Measured
from tests.servers import first_port, make_home
from tests.standby import Standby, caught_up, following

RUNS = int(os.environ.get("FORGETFUL_RUNS", "3"))
CUT_S = (0.5, 5.0)
DRAIN_S = 120.0
END_S = 60.0
AFTER_TIMEOUT_S = "3"
PORT_OFFSET = 440
_MOST_EPOCH = "SELECT coalesce(max(epoch), 0) FROM progress"
_LEAST_EPOCH = "SELECT min(epoch) FROM progress"
_THERE = """
SELECT count(*) FROM forgotten f
WHERE EXISTS (SELECT FROM tagged_images t WHERE t.image_id = f.id)
"""
_OPEN = """
SELECT (SELECT count(*) FROM parked_queries) + (SELECT count(*) FROM parked_images)
     + (SELECT count(*) FROM deliveries WHERE state <> 'delivered')
"""


@dataclass(slots=True)
class Servers:
    """A primary and its asynchronous standby."""

    primary: EmbeddedPostgres
    standby: Standby

    @property
    def url(self) -> str:
        login, _, place = self.primary.url.partition("@")
        hosts = f"{HOST}:{self.primary.port},{HOST}:{self.standby.port}"
        return f"{login}@{hosts}/{place.rpartition('/')[2]}?target_session_attrs=read-write"

    async def cut(self) -> None:
        """End the standby's stream: it has what it has."""
        connection = await asyncpg.connect(self.standby.admin_url, timeout=30)
        try:
            await connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            await connection.execute("SELECT pg_reload_conf()")
            while await connection.fetchval("SELECT count(*) FROM pg_stat_wal_receiver"):
                await asyncio.sleep(0.02)
        finally:
            await connection.close()


@asynccontextmanager
async def forgetful(
    kafka_bootstrap: str, log: Path
) -> AsyncIterator[tuple[Servers, ArchiveToKill]]:
    home = make_home("forgetful")
    primary = EmbeddedPostgres(home, first_port() + PORT_OFFSET)
    await asyncio.to_thread(primary.start)
    kafka = KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=f"forgetful{uuid.uuid4().hex[:8]}.",
        session_timeout_ms=6000,
    )
    try:
        with following(primary, loses_nothing=False) as standby:
            servers = Servers(primary, standby)
            async with archive_to_kill(kafka, servers.url, log) as archive:
                try:
                    yield servers, archive
                finally:
                    archive.ledger.database.terminate()  # that of after the failover
    finally:
        await asyncio.to_thread(primary.stop)
        shutil.rmtree(home, ignore_errors=True)


async def upload(archive: ArchiveToKill) -> uuid.UUID:
    """Do as the ingress does: keep bytes and announce them; return the image's id."""
    content = uuid.uuid4().bytes * 10
    hashed = sha256(content)
    uri = f"blob:{hashed.hexdigest()}"
    await archive.ledger.database.execute(
        "INSERT INTO blobs (sha256, size_bytes, content) VALUES ($1, $2, $3)",
        hashed.digest(),
        len(content),
        content,
    )
    key = uuid.uuid4().hex
    record = encode(
        IMAGES_ARRIVED,
        ImageArrived(uri=uri, owner="ann"),
        key=key,
        event_id=key,
        source="/tests",
        now=datetime.now(UTC),
    )
    await archive.ledger._publish([record])
    return image_id_of(uri)


async def done(archive: ArchiveToKill, batches: list[Batch]) -> None:
    """Wait until all that Kafka has of these batches is done, and nothing is left to do."""
    wanted = [key for batch in batches for key in _expected(batch)]
    async with asyncio.timeout(DRAIN_S):
        while True:
            counts = await _counts(archive, batches)
            is_idle = not await archive.ledger.database.fetchval(_OPEN)
            if is_idle and all(key in counts for key in wanted) and await archive.at_the_end():
                return
            await asyncio.sleep(0.1)


def _expected(batch: Batch) -> list[tuple[str, str]]:
    """Return the effects of what was published: the upload in the outbox is left out."""
    return [key for key in batch.expected if key != ("tagged_images", batch.images[-1])]


async def _counts(archive: ArchiveToKill, batches: list[Batch]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for batch in batches:
        counts |= await archive.ledger._counts(batch)
    return counts


async def fail_over(servers: Servers, archive: ArchiveToKill) -> None:
    """Kill the primary, promote its standby, and go to it with the ledger."""
    pid = servers.primary.pid
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(servers.primary.wait, 30)
    await servers.standby.promote()
    archive.ledger.database.terminate()
    archive.ledger.database = await asyncpg.connect(servers.url, timeout=30)


def bodies(archive: ArchiveToKill) -> dict[str, set[str]]:
    """Return what each webhook said, by its id."""
    said: dict[str, set[str]] = defaultdict(set)
    for request in archive.ledger.receiver.requests:
        data = json.loads(request.body)["data"]
        image = (data.get("image") or {}).get("id")
        said[request.headers["webhook-id"]].add(f"{data['query_id']} {image}")
    return said


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", range(RUNS))
async def test_effects_and_offsets_agree_and_no_epoch_is_given_twice(
    kafka_bootstrap: str, tmp_path: Path, measured: Measured, run: int
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    cut_s = chance.uniform(*CUT_S)
    log = tmp_path / "lives.log"
    async with forgetful(kafka_bootstrap, log) as (servers, archive):
        settings = {"QUERY_AFTER_TIMEOUT_S": AFTER_TIMEOUT_S}
        lives = [
            archive.lives.start(environment={**settings, "CONSUMER_INSTANCE": name})
            for name in ("one", "two")
        ]
        batches = [await archive.ledger.feed()]
        kept = await upload(archive)
        await done(archive, batches)
        await caught_up(servers.primary, servers.standby)

        await servers.cut()
        loop = asyncio.get_running_loop()
        until = loop.time() + cut_s
        lost = await upload(archive)
        batches.append(await archive.ledger.feed())
        await asyncio.sleep(max(0.0, until - loop.time()))
        zombie = chance.choice(lives)
        os.kill(zombie, signal.SIGSTOP)
        most = await archive.ledger.database.fetchval(_MOST_EPOCH)
        answered = "SELECT count(*) FROM queries WHERE status = 'answered'"
        before = await archive.ledger.database.fetchval(answered)
        await fail_over(servers, archive)
        after = await archive.ledger.database.fetchval(answered)

        third = archive.lives.start(environment={**settings, "CONSUMER_INSTANCE": "three"})
        os.kill(zombie, signal.SIGCONT)
        for pid in lives:  # they remember what the database has forgotten
            assert await archive._ended(pid, END_S) is not None, f"{pid} lives on: {log}"
        for name in ("one", "two"):  # as a supervisor does
            archive.lives.start(environment={**settings, "CONSUMER_INSTANCE": name})
        batches.append(await archive.ledger.feed())
        await done(archive, batches)

        counts = await _counts(archive, batches)
        told = f"seed {seed}, cut {cut_s:.1f} s before the kill, log {log}"
        wanted = {key: 1 for batch in batches for key in _expected(batch)}
        assert {key: counts.get(key, 0) for key in wanted} == wanted, told
        database: Transaction = archive.ledger.database
        assert await database.fetchval(_LEAST_EPOCH) > most, told
        (promotion,) = await promotions.forgetful(database)
        assert promotion.settled_at is not None, told
        # Each batch announces an image whose bytes nobody ever had.
        never = {uuid.UUID(batch.failed[0]) for batch in batches}
        listed = {one.id for one in promotion.forgotten} - never
        assert listed == {lost}, f"{told}: {kept} is there, {lost} is not"
        assert await database.fetchval(_THERE) == 0, told
        said = bodies(archive)
        webhooks = defaultdict(set)
        for query, webhook in archive.ledger.posts():
            webhooks[query].add(webhook)
        assert {len(ids) for ids in webhooks.values()} == {1}, f"{told}: an answer with two ids"
        assert {len(one) for one in said.values()} == {1}, f"{told}: one id with two answers"
        again = sum(times - 1 for times in archive.ledger.posts().values())
        measured(
            f"run {run}: {told}; {before - after} answers forgotten, {promotion.answers_kept}"
            f" brought back from the log, {again} webhooks sent again; missing since"
            f" {(promotion.noted_at - promotion.missing_since).total_seconds():.1f} s"
        )
        archive.lives.kill(third)
