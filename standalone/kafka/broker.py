"""Apache Kafka 4.3.0 as a child process: one node that is broker and controller (KRaft)."""

import signal
import time
from pathlib import Path

from standalone.environment import inherited
from standalone.kafka import handshake
from standalone.kafka.aot import REJECTED, AotCache
from standalone.kafka.data_directory import (
    PROPERTIES_FILE,
    empty_scratch,
    format_data,
    load_cluster_id,
    write_properties,
)
from standalone.kafka.jars import fetch_jars
from standalone.kafka.java import java_binary, java_command, java_version
from standalone.ports import HOST, choose_port
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.embedded_server import NO_SPACE, PORT_IN_USE, EmbeddedServer

READY = "Kafka Server started"
READY_TIMEOUT_S = 120.0  # a busy two-core machine, or the recovery of many logs
ANSWER_TIMEOUT_S = 20.0
ASK_TIMEOUT_S = 2.0
POLL_S = 0.05
STOP_GRACE_S = 45.0  # 0.3 s as a rule; the run that records the AOT cache takes 5 to 8 s
HEAP_MIB = 192  # Java's heap; the process takes 180 to 240 MiB in all
CLEAN_EXIT = 143  # Java's answer to SIGTERM


class EmbeddedKafka(EmbeddedServer):
    """A broker whose data lies in `home/kafka`.

    Args:
        home: folder of the standalone mode; made when missing.
        cache: folder of the jars and the AOT cache (`environment.cache_directory`).
        port: first port to try; the next free one is taken when it is in use. The controller's
            ports are tried from the one above it.
    """

    def __init__(self, home: Path, cache: Path, port: int) -> None:
        super().__init__(
            home.resolve() / "kafka",
            subject="Kafka",
            stop_signal=signal.SIGTERM,
            stop_grace_s=STOP_GRACE_S,
        )
        self._cache = cache.resolve()
        self._log = home.resolve() / "logs" / "kafka.log"
        self._wanted_port = port
        self._cluster_id = ""
        self._class_path: tuple[Path, ...] = ()
        self._aot: AotCache | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients; port 0 before the start."""
        return f"{HOST}:{self.ports[0] if self.ports else 0}"

    @property
    def cluster_id(self) -> str:
        """The cluster's id: 22 characters, made once per data directory; empty before the start."""
        return self._cluster_id

    def _prepare(self) -> None:
        self._class_path = fetch_jars(self._cache / "kafka")
        self._aot = AotCache(
            self._cache / "aot", (java_version(), str(java_binary())), self._class_path
        )
        self._cluster_id = load_cluster_id(self._folder)
        empty_scratch(self._folder)

    def _choose_ports(self) -> tuple[int, ...]:
        port = choose_port(self._wanted_port)
        return port, choose_port(port + 1)

    def _command(self, ports: tuple[int, ...]) -> Command:
        write_properties(self._folder, HOST, ports)
        java = java_command(self._class_path, HEAP_MIB)
        format_data(self._folder, java, self._cluster_id)
        options = tuple(self._aot.options()) if self._aot else ()
        java = java_command(self._class_path, HEAP_MIB, options)
        return Command(
            name="kafka",
            argv=(*java, "kafka.Kafka", PROPERTIES_FILE),
            log=self._log,
            environment=inherited(),
            directory=self._folder,
            markers=(READY, PORT_IN_USE, NO_SPACE, REJECTED),
            descriptors=(self._lock.descriptor,),
            death_signal="TERM",  # a clean stop takes 0.3 s and saves 2 s at the next start
        )

    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        """Wait until the log says that it started and our cluster id answers on the port."""
        if not child.wait_for(READY, READY_TIMEOUT_S):
            return False
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while child.is_running and time.monotonic() < deadline:
            cluster = handshake.ask(HOST, ports[0], timeout_s=ASK_TIMEOUT_S)
            if cluster and cluster.cluster_id == self._cluster_id and cluster.brokers:
                if child.has_said(REJECTED) and self._aot:
                    self._aot.forget()
                return child.is_running
            time.sleep(POLL_S)
        return False

    def _stopped(self, exit_code: int | None) -> None:
        if exit_code == CLEAN_EXIT and self._aot:
            self._aot.keep()
