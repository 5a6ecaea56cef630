"""Members of the counting group as processes of their own, to be killed and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.settings import DatabaseSettings, KafkaSettings
from standalone.processes.process import guarded
from tests.counting import set_up

REPOSITORY = Path(__file__).parents[3]


@dataclass(slots=True)
class Members:
    """Starts `python -m tests.counting` under stable instance names and ends what it started."""

    kafka: KafkaSettings
    database: DatabaseSettings
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, instance: str) -> None:
        """Start or restart a member."""
        environment = os.environ | {
            "DATABASE_URL": self.database.url.get_secret_value(),
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
        """SIGKILL, and reap."""
        self.running[instance].send_signal(signal.SIGKILL)
        self.running.pop(instance).wait(10)

    def freeze(self, instance: str) -> None:
        """SIGSTOP: alive for the kernel, dead for everybody else."""
        self.running[instance].send_signal(signal.SIGSTOP)

    def thaw(self, instance: str) -> None:
        """SIGCONT."""
        self.running[instance].send_signal(signal.SIGCONT)

    def terminate(self, instance: str) -> int:
        """SIGTERM; give the exit code."""
        self.running[instance].send_signal(signal.SIGTERM)
        return self.running.pop(instance).wait(60)

    def exit_code(self, instance: str) -> int | None:
        """The exit code, if the member has ended."""
        return self.running[instance].poll()

    def end(self) -> None:
        """Kill what is left."""
        for instance in list(self.running):
            self.running[instance].send_signal(signal.SIGCONT)
            self.kill(instance)

    def told(self, instance: str) -> str:
        """What a member has logged."""
        return (self.log / f"{instance}.log").read_text(errors="replace")


@pytest.fixture
def kafka(kafka_bootstrap: str, topics_prefix: str) -> KafkaSettings:
    """The session's broker, with topics and groups of this test's own."""
    return KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=topics_prefix,
        session_timeout_ms=6000,
    )


@pytest.fixture
async def database(database_url: str, kafka: KafkaSettings) -> DatabaseSettings:
    """A database with the table of effects; the topics are there too."""
    settings = DatabaseSettings(url=database_url)
    await set_up(kafka, settings)
    return settings


@pytest.fixture
def members(kafka: KafkaSettings, database: DatabaseSettings, tmp_path: Path) -> Iterator[Members]:
    """A counting group whose members end with the test."""
    group = Members(kafka, database, tmp_path)
    yield group
    group.end()
