"""Exhausted resources: PostgreSQL's connections, and the disk for the photos' bytes."""

import asyncio
import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from core.blobs.keepers import DirectoryKeeper
from core.errors import ImageMissing
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from tests.counting import CountingRole, eventually, open_bench, produce, record_of
from tests.faults.test_runtime_deaths import all_passed, passed
from tests.faults.test_runtime_outages import Running

REPOSITORY = Path(__file__).parents[2]
COUNT = 600
ROOM = 20  # connections that are free at first
END_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'counting' AND datname = current_database()"
)
#: A keeper whose process may not write files larger than 64 KiB, as if the disk were full.
FULL = """
import asyncio, resource, sys
from pathlib import Path
from core.blobs.keepers import DirectoryKeeper
from core.errors import BlobStoreAway
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
keeper = DirectoryKeeper(Path(sys.argv[1]))
asyncio.run(keeper.put(bytes(32), b"small", None))
try:
    asyncio.run(keeper.put(bytes.fromhex(sys.argv[2]), bytes(100_000), None))
except BlobStoreAway as error:
    print("away:", error)
"""


async def test_postgresql_without_a_free_connection_costs_time_only(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    url = database.url.get_secret_value()
    role = CountingRole(prepare_s=0.1, emit=True)
    settings = ConsumerSettings(instance="a", batch_max_records=10)
    hogs: list[asyncpg.Connection[asyncpg.Record]] = []
    await take_all(url, hogs)
    await asyncio.gather(*(hogs.pop().close() for _ in range(ROOM)))
    async with open_bench(kafka, database, role=role, consumer=settings) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(COUNT)])
        async with Running(bench) as running:

            async def begun() -> bool:
                return await passed(bench) >= COUNT // 5

            await eventually(begun)
            try:
                # Its connections are terminated and others take their places, until none is free.
                # A connection that is just starting is not listed yet, hence the second time.
                quiet = 0
                while quiet < 2:
                    quiet = 0 if await hogs[0].fetchval(END_OTHERS) else quiet + 1
                    await take_all(url, hogs)
                    await asyncio.sleep(0.1)
                before = await hogs[0].fetchval("SELECT sum(next_offset) FROM progress")
                await asyncio.sleep(2)
                after = await hogs[0].fetchval("SELECT sum(next_offset) FROM progress")
                assert not running.task.done(), "an outage must not end the process"
                assert before == after < COUNT, "it has found a connection all the same"
            finally:
                await asyncio.gather(*(hog.close() for hog in hogs))
            await all_passed(bench, COUNT)
        assert await bench.effects() == Counter(range(COUNT))


async def take_all(url: str, hogs: "list[asyncpg.Connection[asyncpg.Record]]") -> None:
    """Connect until PostgreSQL says that there are too many."""
    try:
        while True:
            hogs.append(await asyncpg.connect(url))
    except asyncpg.TooManyConnectionsError:
        pass


async def test_a_disk_without_room_is_an_outage_and_leaves_no_half_file(tmp_path: Path) -> None:
    content = bytes(100_000)
    digest = hashlib.sha256(content).digest()

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FULL, str(tmp_path), digest.hex()],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.startswith("away:"), done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"small"], "what was there before, whole"
    keeper = DirectoryKeeper(tmp_path)
    with pytest.raises(ImageMissing):
        await keeper.read(digest, max_bytes=len(content))
    await keeper.put(digest, content, None)  # now there is room
    assert await keeper.read(digest, max_bytes=len(content)) == content
