"""Apache Kafka as a child process: one node that is broker and controller (KRaft)."""

import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from core.errors import PhotoTaggerError
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
from standalone.kafka.jars import LOCK_FILE, fetch_jars
from standalone.kafka.java import java_binary, java_command, java_version
from standalone.kafka.logins import Logins, load_logins
from standalone.kafka.wire import SCRAM
from standalone.ports import HOST, PortPlan
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.embedded_server import NO_SPACE, PORT_IN_USE, EmbeddedServer

READY = "Kafka Server started"
READY_TIMEOUT_S = 120.0  # a busy two-core machine, or the recovery of many logs
ANSWER_TIMEOUT_S = 20.0
ASK_TIMEOUT_S = 2.0
POLL_S = 0.05
STOP_GRACE_S = 20.0  # 0.3 s as a rule
RECORDING_GRACE_S = 120.0  # 5 to 8 s as a rule, on two cores
HEAP_MIB = 192  # Java's heap; the process takes 180 to 240 MiB in all
SCRATCH = "recording-"  # what the folder of a recording's data begins with
CLEAN_EXIT = 143  # Java's answer to SIGTERM


class EmbeddedKafka(EmbeddedServer):
    """A broker whose data lies in `home/kafka`.

    Args:
        home: folder of the standalone mode; made when missing.
        cache: folder of the jars and the AOT cache (`environment.cache_directory`).
        port: first port to try; the next free one is taken when it is in use. The controller's
            ports are tried from the one above it.
        plan: gives the ports; None: they are chosen without regard to others.
        is_recording: whether it only lives to record the AOT cache, which its stop writes.
        jars: the file with the list of its jars; another one is another version.
    """

    def __init__(
        self,
        home: Path,
        cache: Path,
        port: int,
        *,
        plan: PortPlan | None = None,
        is_recording: bool = False,
        jars: Path = LOCK_FILE,
    ) -> None:
        super().__init__(
            home.resolve() / "kafka",
            subject="Kafka",
            stop_signal=signal.SIGTERM,
            stop_grace_s=RECORDING_GRACE_S if is_recording else STOP_GRACE_S,
        )
        self._cache = cache.resolve()
        self._log = home.resolve() / "logs" / "kafka.log"
        self._wanted_port = port
        self._plan = plan or PortPlan()
        self._jars = jars
        self._cluster_id = ""
        self._class_path: tuple[Path, ...] = ()
        self._aot: AotCache | None = None
        self._logins: Logins | None = None
        self._is_recording = is_recording

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients; port 0 before the start."""
        return f"{HOST}:{self.ports[0] if self.ports else 0}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which clients find it and log in. They hold the password."""
        client = self._started().client
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": SCRAM,
            "KAFKA_SASL_USERNAME": client.user,
            "KAFKA_SASL_PASSWORD": client.password,
        }

    def _started(self) -> Logins:
        if self._logins is None:
            raise RuntimeError("Kafka was not started")
        return self._logins

    @property
    def cluster_id(self) -> str:
        """The cluster's id: 22 characters, made once per data directory; empty before the start."""
        return self._cluster_id

    def _prepare(self) -> None:
        self._class_path = fetch_jars(self._cache / "kafka", self._jars)
        self._aot = AotCache(
            self._cache / "aot", (java_version(), str(java_binary())), self._class_path
        )
        if not self._is_recording:
            self._aot.ensure(self._record)
        self._cluster_id = load_cluster_id(self._folder)
        self._logins = load_logins(self._folder)
        empty_scratch(self._folder)

    def _record(self) -> None:
        """Run a broker on scratch data once, so that Java records the cache of all later ones."""
        say = partial(print, file=sys.stderr, flush=True)
        say("preparing Apache Kafka for quick starts, once …")
        for left in self._folder.glob(f"{SCRATCH}*"):  # of a run that was killed; the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self._folder) as scratch:
            other = EmbeddedKafka(
                Path(scratch),
                self._cache,
                self._wanted_port,
                is_recording=True,
                jars=self._jars,
            )
            try:
                other.start()
            except PhotoTaggerError as error:
                say(f"it did not work, and it is not needed: {error}")
            finally:
                other.stop()

    def _choose_ports(self) -> tuple[int, ...]:
        port = self._plan.choose(self._wanted_port)
        return port, self._plan.choose(port + 1)

    def _command(self, ports: tuple[int, ...]) -> Command:
        write_properties(self._folder, HOST, ports, self._started())
        java = java_command(self._class_path, HEAP_MIB)
        format_data(self._folder, java, self._cluster_id)
        java = java_command(self._class_path, HEAP_MIB, self._cache_options())
        return Command(
            name="kafka",
            argv=(*java, "kafka.Kafka", PROPERTIES_FILE),
            log=self._log,
            environment=inherited(),
            directory=self._folder,
            markers=(READY, PORT_IN_USE, NO_SPACE, REJECTED),
            descriptors=(self._lock.descriptor,),
            # A clean stop takes 0.3 s and saves 2 s at the next start; that of a recording takes
            # many seconds, and nobody is left who would keep what it writes.
            death_signal="KILL" if self._is_recording else "TERM",
        )

    def _cache_options(self) -> tuple[str, ...]:
        if self._aot is None:
            return ()
        return tuple(self._aot.recording_options() if self._is_recording else self._aot.options())

    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        """Wait until the log says that it started and our cluster id answers on the port."""
        if not child.wait_for(READY, READY_TIMEOUT_S):
            return False
        logins, deadline = self._started(), time.monotonic() + ANSWER_TIMEOUT_S
        is_open = False
        while child.is_running and time.monotonic() < deadline:
            is_open = is_open or handshake.admit_clients(
                HOST, ports[1], logins, timeout_s=ASK_TIMEOUT_S
            )
            cluster = handshake.ask(HOST, ports[0], logins.client, timeout_s=ASK_TIMEOUT_S)
            if cluster and cluster.cluster_id == self._cluster_id and cluster.brokers:
                if child.has_said(REJECTED) and self._aot:
                    self._aot.forget()
                return child.is_running
            time.sleep(POLL_S)
        return False

    def _stopped(self, exit_code: int | None) -> None:
        if exit_code == CLEAN_EXIT and self._is_recording and self._aot:
            self._aot.keep()
