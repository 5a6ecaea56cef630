"""Members of the counting group as processes of their own, which tests kill and stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.settings import DatabaseSettings, KafkaSettings
from standalone.processes.child_process import guarded
from tests.counting import set_up

REPOSITORY = Path(__file__).parents[3]


@dataclass(slots=True)
class Members:
    """Starts `python -m tests.counting` under stable instance names, and ends what it started."""

    kafka: KafkaSettings
    database: DatabaseSettings
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, instance: str) -> None:
        """Start or restart a member."""
        environment = os.environ | {
            "DATABASE_URL": self.database.url.get_secret_value(),
            "DATABASE_POOLER_URL": self.database.pooler_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_SESSION_TIMEOUT_MS": str(self.kafka.session_timeout_ms),
            "CONSUMER_INSTANCE": instance,
            **self.settings,
        }
        with (self.log / f"{instance}.log").open("ab") as log:
            self.running[instance] = subprocess.Popen(
                guarded([sys.executable, "-m", "tests.counting"]),
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def kill(self, instance: str) -> None:
        """Kill by SIGKILL, and reap."""
        self.running[instance].send_signal(signal.SIGKILL)
        self.running.pop(instance).wait(10)

    def freeze(self, instance: str) -> None:
        """Stop by SIGSTOP, so that the process exists but does nothing."""
        self.running[instance].send_signal(signal.SIGSTOP)

    def thaw(self, instance: str) -> None:
        """Resume by SIGCONT."""
        self.running[instance].send_signal(signal.SIGCONT)

    def terminate(self, instance: str) -> int:
        """End by SIGTERM; return the exit code."""
        self.running[instance].send_signal(signal.SIGTERM)
        return self.running.pop(instance).wait(60)

    def exit_code(self, instance: str) -> int | None:
        """Return the exit code, or None while the member runs."""
        return self.running[instance].poll()

    def end(self) -> None:
        """Kill all members that still run."""
        for instance in list(self.running):
            self.running[instance].send_signal(signal.SIGCONT)
            self.kill(instance)

    def told(self, instance: str) -> str:
        """Return the log of a member."""
        return (self.log / f"{instance}.log").read_text(errors="replace")


@pytest.fixture
def kafka(kafka_bootstrap: str, topics_prefix: str) -> KafkaSettings:
    """Return settings of the session's broker with topics and groups of this test's own."""
    return KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=topics_prefix,
        session_timeout_ms=6000,
    )


@pytest.fixture
async def database(database_url: str, kafka: KafkaSettings) -> DatabaseSettings:
    """Create a database with the table of effects, and the topics."""
    settings = DatabaseSettings(url=database_url)
    await set_up(kafka, settings)
    return settings


@pytest.fixture
def members(kafka: KafkaSettings, database: DatabaseSettings, tmp_path: Path) -> Iterator[Members]:
    """Yield a counting group whose members end with the test."""
    group = Members(kafka, database, tmp_path)
    yield group
    group.end()
