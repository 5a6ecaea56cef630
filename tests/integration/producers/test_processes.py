"""`python -m producers` as a supervisor runs it: real Kafka, real PostgreSQL, real signals."""

import asyncio
import signal
import sys
import time
from uuid import uuid4

from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions
from tests.integration.site import LIMIT_S, Site, uris

PRODUCERS = (sys.executable, "-m", "producers")


async def test_a_job_survives_the_kill_of_its_runner(site: Site) -> None:
    names = [f"{i % 10}/{i:05}.jpg" for i in range(6000)]
    site.write(*names)
    job_id = uuid4()
    await jobs.create(
        site.pool, job_id=job_id, root="main", directory="", options=DirectoryOptions()
    )
    process = await site.start(*PRODUCERS, "jobs")
    while True:
        job = await jobs.get(site.pool, job_id)
        assert job is not None
        if job.announced:
            break
        await asyncio.sleep(0.005)
    process.kill()
    await process.communicate()
    # The lease of the dead runner would run out within a minute.
    await site.pool.execute("UPDATE jobs SET lease_until = now() WHERE state = 'running'")

    code, _, errors = await site.run(*PRODUCERS, "jobs", "--until-empty")

    assert code == 0, errors
    done = await jobs.get(site.pool, job_id)
    assert done is not None
    assert (done.state, done.announced) == ("done", 6000)
    announced = await site.announced()
    assert set(announced) == set(uris(*names))
    assert announced.total() <= 6500  # the batch that was in hand


async def test_a_watch_killed_and_started_again_announces_the_rest(site: Site) -> None:
    names = [f"d/{i:04}.jpg" for i in range(1000)]
    site.write(*names)
    arguments = (*PRODUCERS, "watch", str(site.root), "--settle", "0.2", "--poll", "1")
    first = await site.start(*arguments)
    await _until_ledger_has(site, 200)
    first.kill()
    await first.communicate()
    site.write("d/new.jpg")

    second = await site.start(*arguments)
    await _until_ledger_has(site, 1001)
    second.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(second.communicate(), LIMIT_S)

    assert second.returncode == 0, errors.decode()
    announced = await site.announced()
    assert set(announced) == set(uris(*names, "d/new.jpg"))
    assert announced.total() <= 1001 + 200  # the batch that was in hand


async def _until_ledger_has(site: Site, wanted: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while await site.pool.fetchval("SELECT count(*) FROM watched_files") < wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_wrong_setting_ends_it_with_2_and_its_name(site: Site) -> None:
    code, _, errors = await site.run(
        *PRODUCERS, "jobs", "--until-empty", KAFKA_SESSION_TIMEOUT_MS="never"
    )

    assert (code, "KAFKA_SESSION_TIMEOUT_MS" in errors) == (2, True), errors
