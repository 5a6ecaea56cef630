"""One archive on the session's servers, run by processes ("lives") that die at a given step."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer
from prometheus_client import CollectorRegistry

from core.messaging.kafka.cluster import identify
from core.messaging.kafka.producer import Publisher
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.topics import IMAGES_ARRIVED
from tests.fakes.receiver import HostileReceiver
from tests.faults.harness.ledger import AUDIT, Batch, Ledger, Verdict, listener, spoken
from tests.faults.harness.lives import NOWHERE, REPOSITORY, Aim, Lives

DEATH_S = 40.0  # a join may wait for the session of a dead member whose id was not stored
DRAIN_S = 30.0
PARK_S = 30.0


@dataclass(slots=True)
class ArchiveToKill:
    """Runs of the crash matrix: send input, die at a step, restart, compare."""

    lives: Lives
    ledger: Ledger
    consumer: AIOKafkaConsumer
    pid: int = 0

    async def _ended(self, pid: int, within_s: float) -> int | None:
        return await asyncio.to_thread(self.lives.ended, pid, within_s)

    def start(self, aim: Aim = NOWHERE, **options: object) -> int:
        """Start a further life."""
        self.pid = self.lives.start(aim, **options)  # type: ignore[arg-type]  # passed through
        return self.pid

    def end(self) -> None:
        """Kill the running life, if any."""
        if self.pid in self.lives.alive:
            self.lives.kill(self.pid)

    async def die(self, aim: Aim, *, mutation: str = "") -> tuple[Batch, bool]:
        """Send a batch to a life that dies at the step; return whether it reached the step.

        A running life is used, unless the step is part of a start or a mutation must be active:
        then a new one is started after the batch was sent.
        """
        at_start = aim.at.split(".")[0] in ("join", "claim") or bool(mutation)
        if at_start or self.pid not in self.lives.alive:
            self.end()
            batch = await self.ledger.feed()
            self.start(aim, mutation=mutation)
        else:
            self.lives.arm(self.pid, aim)
            batch = await self.ledger.feed()
        await self._until_parked(batch)
        await self.ledger.follow_up(batch)
        if aim.at.startswith("leave."):
            await self.ledger.done(batch, DRAIN_S)
            os.kill(self.pid, signal.SIGTERM)
        return batch, await self.reached(batch)

    async def _until_parked(self, batch: Batch) -> None:
        """Wait until the query that waits for the upload is parked, or no life is left."""
        deadline = asyncio.get_running_loop().time() + PARK_S
        while asyncio.get_running_loop().time() < deadline and not _is_dead(self.pid):
            if await self.ledger.parked(batch):
                return
            await asyncio.sleep(0.05)

    async def reached(self, batch: Batch) -> bool:
        """Wait until the life died, or all work is done without its death."""
        waiting = asyncio.create_task(self._ended(self.pid, DEATH_S))
        working = asyncio.create_task(self.ledger.done(batch, DEATH_S))
        await asyncio.wait({waiting, working}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await asyncio.wait({waiting}, timeout=1.5)  # the advisory commit is made once a second
        if waiting.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await self.ledger.witness()
            return waiting.result() == -signal.SIGKILL
        os.kill(self.pid, signal.SIGKILL)
        await waiting
        await self.ledger.witness()
        return False

    async def recover(
        self, batch: Batch, *, within_s: float = DRAIN_S, **options: object
    ) -> Verdict:
        """Start a new life, wait until all work is done, and return the verdict."""
        self.start(NOWHERE, **options)
        await self.ledger.done(batch, within_s)
        return await self.ledger.judge(batch, self.consumer)

    async def at_the_end(self) -> bool:
        """Return whether progress is at the end of each log and no lease is too long."""
        return await self.ledger.at_the_end(self.consumer)


@asynccontextmanager
async def archive_to_kill(
    kafka: KafkaSettings, database_url: str, log: Path, *, pooler_url: str = ""
) -> AsyncIterator[ArchiveToKill]:
    """Open an archive with topics and a database of its own; no life is started."""
    async with HostileReceiver() as receiver:
        environment = settings(kafka, database_url, receiver.port)
        environment["DATABASE_POOLER_URL"] = pooler_url
        await asyncio.to_thread(_migrate, environment)
        database = await asyncpg.connect(database_url)
        consumer = listener(kafka)
        metrics = Metrics(CollectorRegistry())
        async with Publisher(kafka, metrics, client_id="ledger") as publisher:
            try:
                await database.execute(AUDIT)
                cluster = (await identify(kafka, IMAGES_ARRIVED.name)).cluster_id
                await consumer.start()
                consumer.assign(spoken(kafka))
                ledger = Ledger(kafka, database, publisher, receiver, cluster)
                with Lives(environment, log) as lives:
                    yield ArchiveToKill(lives, ledger, consumer)
            finally:
                await consumer.stop()
                await database.close()


def settings(kafka: KafkaSettings, database_url: str, port: int) -> dict[str, str]:
    """Return the settings of the lives: short times, so that recovery is quick."""
    return {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_SESSION_TIMEOUT_MS": str(kafka.session_timeout_ms),
        "CONSUMER_INSTANCE": "only",
        "OUTBOX_SWEEP_AGE_S": "5",
        "DELIVERY_EXCHANGE_TIMEOUT_S": "1",
        "DELIVERY_SCHEDULE_S": "0,0.2,0.5,1,1,1,1,1",
        "EGRESS_ALLOW_HTTP": "true",
        "EGRESS_ALLOWED_HOSTS": "127.0.0.1",
        "EGRESS_ALLOWED_PORTS": str(port),
        "DELIVERY_KEEP_EXIF": "true",
        "SECRETS_KEY": base64.b64encode(bytes(range(32))).decode(),
        "TELEMETRY_LOG_LEVEL": "info",
    }


def _is_dead(pid: int) -> bool:
    """Return whether a life has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _migrate(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migrations"],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
