"""Real servers with role processes beside them, for rows that need the whole path of an event."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.webhooks.signing_secrets import make_key
from migrations import schema, topics
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.ports import choose_port
from standalone.postgres.server import EmbeddedPostgres

FIRST_PORT = 21_800
STOP_S = 30.0
#: What an operator would set for receivers on this machine.
SETTINGS = {
    "EGRESS_ALLOW_HTTP": "true",
    "EGRESS_ALLOWED_PORTS": "1-65535",
    "EGRESS_ALLOWED_HOSTS": "127.0.0.0/8",
    "TELEMETRY_LOG_LEVEL": "error",
}


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of the servers, which this process has in its environment too.

    Attributes:
        admin: the database, as the superuser.
    """

    kafka: str
    database: str
    admin: str


@contextmanager
def servers() -> Iterator[Servers]:
    """Start Kafka and PostgreSQL with schema and topics; PostgreSQL notes the time of commits."""
    home = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    home.chmod(0o755)
    postgres = EmbeddedPostgres(home, FIRST_PORT)
    kafka = EmbeddedKafka(home, cache_directory(home), FIRST_PORT + 10)
    try:
        postgres.start()
        postgres.stop()
        settings = next(home.glob("postgres/**/postgresql.auto.conf"))
        with settings.open("a") as more:
            more.write("track_commit_timestamp = on\n")
        postgres.start()
        kafka.start()
        own = {"DATABASE_URL": postgres.url, "SECRETS_KEY": make_key()}
        os.environ |= SETTINGS | own | kafka.environment
        asyncio.run(schema.upgrade())
        asyncio.run(topics.create())
        admin = postgres.admin_url.rpartition("/")[0] + "/" + postgres.url.rpartition("/")[2]
        yield Servers(kafka.bootstrap, postgres.url, admin)
    finally:
        kafka.stop()
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running(roles: Sequence[str], settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run consumer roles, a process each, until the block ends."""
    with ExitStack() as stack:
        for number, role in enumerate(roles):
            port = choose_port(FIRST_PORT + 20 + number)
            own = {"TELEMETRY_METRICS_PORT": str(port), **(settings or {})}
            child = subprocess.Popen(
                [sys.executable, "-m", "consumers", role], env=os.environ | own
            )
            stack.callback(child.wait, STOP_S)
            stack.callback(child.terminate)
        yield
