"""The heartbeats of tagging processes, and how `/health` shows them."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from consumers.tagging.heartbeat import Heartbeat
from core.errors import DatabaseAway
from core.storage.pool import Pool
from core.storage.scoring import loaded_models
from core.storage.scoring.loaded_models import LoadedModel
from core.transaction import Transaction
from ingress.routes.operating.health import MODEL_SILENCE

TICK_S = 0.02


@dataclass
class AwayAtFirst:
    """A pool on a database that is away at first."""

    pool: Pool
    refusals: int

    def connection(self) -> AbstractAsyncContextManager[Transaction]:
        if self.refusals:
            self.refusals -= 1
            raise DatabaseAway("connection refused")
        return self.pool.connection()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.pool.transaction()


async def until_seen_again(pool: Pool) -> LoadedModel:
    """Wait for a second heartbeat; return the only model."""
    async with asyncio.timeout(10):
        while True:
            async with pool.connection() as connection:
                found = await loaded_models.running(connection, timedelta(hours=1))
            if found and found[0].seen_at > found[0].loaded_at:
                return found[0]
            await asyncio.sleep(TICK_S)


async def test_a_process_names_its_model_and_goes_on_saying_that_it_runs(pool: Pool) -> None:
    stop = asyncio.Event()
    heartbeat = Heartbeat(
        AwayAtFirst(pool, refusals=3), "demo@1", ["bulk", "fresh"], interval_s=TICK_S
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(heartbeat.run(stop))
        seen = await until_seen_again(pool)
        stop.set()

    assert (seen.model, seen.lanes) == ("demo@1", ("fresh", "bulk"))
    assert [one.model for one in await loaded_models.running(pool, MODEL_SILENCE)] == ["demo@1"]


async def test_a_silent_process_is_not_shown_and_the_last_loaded_stands_first(pool: Pool) -> None:
    async with pool.connection() as connection:
        for model in ("gone@1", "old@1", "new@1"):
            await loaded_models.loaded(connection, model, ["fresh", "bulk"])
        await connection.execute(
            "UPDATE loaded_models SET seen_at = now() - $1::interval WHERE model = 'gone@1'",
            MODEL_SILENCE + timedelta(seconds=1),
        )
        await loaded_models.seen(connection, "old@1", ["fresh", "bulk"])

    assert [one.model for one in await loaded_models.running(pool, MODEL_SILENCE)] == [
        "new@1",
        "old@1",
    ]


async def test_a_lane_that_no_process_works_on_is_not_shown(pool: Pool) -> None:
    async with pool.connection() as connection:
        await loaded_models.loaded(connection, "new@1", ["fresh", "bulk"])
        await connection.execute("UPDATE loaded_models SET seen_at = '2026-01-01'")
        await loaded_models.seen(connection, "new@1", ["fresh"])

        (running,) = await loaded_models.running(connection, MODEL_SILENCE)

    assert running.lanes == ("fresh",)
