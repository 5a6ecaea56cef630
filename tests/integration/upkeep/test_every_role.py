"""Each role alone does all of the upkeep, without other processes and without Kafka."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from core.storage.best import combo_repair
from core.storage.pool import Pool
from core.storage.stream import heartbeats
from tests.counting import eventually

ROOT = Path(__file__).parents[3]
WITHIN_S = 90.0  # the tagging process loads its model first


@pytest.mark.parametrize("role", ["tagging", "query", "delivery"])
async def test_a_role_alone_prunes_repairs_and_folds_and_says_that_it_lives(
    role: str, pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await pool.execute(
        "INSERT INTO queries (query_id, text, callback_url, status, answered_at) "
        "VALUES (gen_random_uuid(), 't', 'u', 'answered', now() - interval '400 days')"
    )
    await combo_repair.forget(pool)
    await pool.execute("INSERT INTO total_changes (kind, key, images) VALUES ('camera', 'c', 1)")
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",  # no broker
        "SECRETS_KEY": "k" * 43 + "=",
        "TAGGING_MODEL": "demo",
        "TELEMETRY_METRICS_PORT": "0",
        "ARCHIVE_ROOTS": f"photos={tmp_path}",
    }

    async def is_done() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT NOT EXISTS (SELECT FROM queries) AND (SELECT ready FROM combo_state) "
                "AND NOT EXISTS (SELECT FROM total_changes) "
                "AND EXISTS (SELECT FROM totals WHERE kind = 'camera' AND images = 1) "
                "AND EXISTS (SELECT FROM heartbeats WHERE role = $1 AND stopped_at IS NULL"
                "            AND about ? 'waits_for')",  # the broker
                role,
            )
        )

    log = tmp_path / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "consumers", role,
            cwd=ROOT, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            await eventually(is_done, within_s=WITHIN_S, what=role)
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)
    assert process.returncode == 0, log.read_text(errors="replace")[-2000:]
    async with pool.connection() as connection:
        parts = await heartbeats.all_of_them(connection)
    assert {role, "upkeep"} <= {part.role for part in parts}
    assert all(part.stopped_at for part in parts)
