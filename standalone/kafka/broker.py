"""Apache Kafka as a child process: a node that is broker and controller (KRaft)."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import PhotoTaggerError
from standalone.environment import inherited
from standalone.kafka import handshake
from standalone.kafka.aot import REJECTED, AotCache, ended_after
from standalone.kafka.data_directory import (
    PROPERTIES_FILE,
    empty_scratch,
    format_data,
    write_properties,
)
from standalone.kafka.jars import LOCK_FILE, fetch_jars
from standalone.kafka.java import java_binary, java_command, java_version
from standalone.kafka.logins import Logins
from standalone.kafka.membership import ALONE, Membership
from standalone.kafka.wire import SCRAM
from standalone.ports import HOST, PortPlan
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.embedded_server import NO_SPACE, PORT_IN_USE, EmbeddedServer
from standalone.processes.tool import LONGEST_S

READY = "Kafka Server started"
#: From "started" to the first answer. 20 s were too few on a machine under load, and so were 2 s
#: for one question, which is a dozen steps between two processes.
ANSWER_TIMEOUT_S = 300.0
ASK_TIMEOUT_S = 10.0
POLL_S = 0.05
STOP_GRACE_S = 20.0  # 0.3 s as a rule
#: Of a cluster that stops as a whole the last wait for a leader that nobody elects any more. What
#: is killed then has lost nothing: the others have it, and the page cache.
MEMBER_STOP_GRACE_S = 3.0
RECORDING_S = 60.0  # its stop included; 10 s as a rule, on two cores. It saves 2 s a start
HEAP_MIB = 192  # Java's heap; the process takes 180 to 240 MiB in all
SCRATCH = "recording-"  # what the folder of a recording's data begins with
CLEAN_EXIT = 143  # Java's answer to SIGTERM


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Where a broker's files are: its log, the folder of jars and AOT cache, the list of jars."""

    log: Path
    cache: Path
    jars: Path = LOCK_FILE


def complain(message: str) -> None:
    """Print a message to the terminal."""
    print(message, file=sys.stderr, flush=True)


class Broker(EmbeddedServer):
    """One broker of a cluster.

    Args:
        cluster: whose member it is.
        node_id: which of them, from 1 on.
        files: where its files are.
        say: is called with messages for the person at the terminal.
        is_recording: whether it only lives to record the AOT cache, which its stop writes.
    """

    def __init__(
        self,
        cluster: Membership,
        node_id: int,
        files: BrokerFiles,
        *,
        say: Callable[[str], None] = complain,
        is_recording: bool = False,
    ) -> None:
        grace_s = STOP_GRACE_S if cluster.size == ALONE else MEMBER_STOP_GRACE_S
        super().__init__(
            cluster.folders[node_id - 1],
            subject="Kafka" if cluster.size == ALONE else f"Kafka's broker {node_id}",
            stop_signal=signal.SIGTERM,
            stop_grace_s=RECORDING_S if is_recording else grace_s,
        )
        self._say = say
        self._cluster = cluster
        self._node_id = node_id
        self._is_member = cluster.size > ALONE
        self._files = files
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
        return environment_of(self.bootstrap, self._started())

    def _started(self) -> Logins:
        if self._logins is None:
            raise RuntimeError("Kafka was not started")
        return self._logins

    @property
    def cluster_id(self) -> str:
        """The cluster's id: 22 characters, made once per data directory; empty before the start."""
        return self._cluster_id

    def _prepare(self) -> None:
        cache = self._files.cache
        self._class_path = fetch_jars(cache / "kafka", self._files.jars)
        self._aot = AotCache(cache / "aot", (java_version(), str(java_binary())), self._class_path)
        if not self._is_recording and self._cluster.records:
            self._aot.ensure(self._record)
        self._cluster_id, self._logins = self._cluster.load()
        empty_scratch(self._folder)

    def _record(self) -> None:
        """Run a broker on scratch data once, so that Java records the cache of all later ones.

        It is tried once a run, and not for long: a start is slower without it, and works.
        """
        self._cluster.records = False
        self._say("preparing Apache Kafka for quick starts, once …")
        for left in self._folder.glob(f"{SCRATCH}*"):  # of a run that was killed; the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        log = self._files.log.with_name("kafka-recording.log")
        began, problem = time.monotonic(), ""
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self._folder) as scratch:
            home = Path(scratch).resolve()
            other = Broker(
                self._cluster.beside(home),
                1,
                replace(self._files, log=log),
                is_recording=True,
            )
            with ended_after(RECORDING_S, other.give_up):
                try:
                    other.start()
                except PhotoTaggerError as error:
                    problem = str(error).splitlines()[0].removesuffix(":")
                finally:
                    other.stop()
        if self._aot is not None and not self._aot.options():
            self._aot.discard()
            is_late = time.monotonic() - began >= RECORDING_S
            why = problem if problem and not is_late else f"it took over {RECORDING_S:.0f} s"
            self._say(f"it was not prepared, which is not needed: {why} ({log})")

    def _choose_ports(self) -> tuple[int, ...]:
        place = self._cluster.choose_places()[self._node_id - 1]
        ports = place.port, place.controller_port
        if self._is_member:
            self._ports = ports  # the others know them: it is an error if one was taken meanwhile
        return ports

    def _command(self, ports: tuple[int, ...]) -> Command:
        del ports  # they are those of its place
        write_properties(self._folder, HOST, self._cluster.places, self._node_id, self._started())
        java = java_command(self._class_path, HEAP_MIB)
        longest_s = RECORDING_S if self._is_recording else LONGEST_S
        format_data(self._folder, java, self._cluster_id, longest_s=longest_s)
        java = java_command(self._class_path, HEAP_MIB, self._cache_options())
        return Command(
            name=self._files.log.stem,
            argv=(*java, "kafka.Kafka", PROPERTIES_FILE),
            log=self._files.log,
            environment=inherited(),
            directory=self._folder,
            markers=(READY, PORT_IN_USE, NO_SPACE, REJECTED),
            descriptors=(self._lock.descriptor,),
            # A clean stop takes 0.3 s and saves 2 s at the next start; that of a recording takes
            # many seconds, and nobody is left who would keep what it writes. Of a cluster that
            # stops as a whole the last wait for a leader that nobody elects any more.
            death_signal="KILL" if self._is_recording or self._is_member else "TERM",
        )

    def _cache_options(self) -> tuple[str, ...]:
        if self._aot is None:
            return ()
        return tuple(self._aot.recording_options() if self._is_recording else self._aot.options())

    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        """Wait until the log says that it started and our cluster id answers on the port."""
        if not self._says(child, READY):
            return False
        logins, deadline = self._started(), time.monotonic() + ANSWER_TIMEOUT_S
        address, is_open = f"{HOST}:{ports[0]}", False
        while child.is_running and time.monotonic() < deadline:
            is_open = is_open or self._admit_clients(logins)
            cluster = handshake.ask(HOST, ports[0], logins.client, timeout_s=ASK_TIMEOUT_S)
            is_ours = cluster is not None and cluster.cluster_id == self._cluster_id
            if cluster and is_ours and address in cluster.brokers:
                if child.has_said(REJECTED) and self._aot:
                    self._aot.forget()
                return child.is_running
            time.sleep(POLL_S)
        return False

    def _admit_clients(self, logins: Logins) -> bool:
        """Let the clients' login in, at whichever controller leads; return whether one did so."""
        return any(
            handshake.admit_clients(
                HOST,
                place.controller_port,
                logins,
                timeout_s=ASK_TIMEOUT_S,
                certificate=self._cluster.certificate,
            )
            for place in self._cluster.places
        )

    def _stopped(self, exit_code: int | None) -> None:
        if exit_code == CLEAN_EXIT and self._is_recording and self._aot:
            self._aot.keep()

    def give_up(self) -> None:
        """End a start that is under way, or a stop: at once, whatever it does."""
        self._stop_asked = True
        self.kill()


def environment_of(bootstrap: str, logins: Logins) -> dict[str, str]:
    """Return the settings by which clients find these brokers and log in."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": SCRAM,
        "KAFKA_SASL_USERNAME": logins.client.user,
        "KAFKA_SASL_PASSWORD": logins.client.password,
    }


class EmbeddedKafka(Broker):
    """A broker alone, whose data lies in `home/kafka`.

    Args:
        home: folder of the standalone mode; made when missing.
        cache: folder of the jars and the AOT cache (`environment.cache_directory`).
        port: first port to try; the next free one is taken when it is in use. The controller's
            ports are tried from the one above it.
        plan: gives the ports; None: they are chosen without regard to others.
        say: is called with messages for the person at the terminal.
        jars: the file with the list of its jars; another one is another version.
    """

    def __init__(
        self,
        home: Path,
        cache: Path,
        port: int,
        *,
        plan: PortPlan | None = None,
        say: Callable[[str], None] = complain,
        jars: Path = LOCK_FILE,
    ) -> None:
        super().__init__(
            Membership(home.resolve(), ALONE, wanted_port=port, plan=plan or PortPlan()),
            1,
            BrokerFiles(home.resolve() / "logs" / "kafka.log", cache.resolve(), jars),
            say=say,
        )

    @property
    def brokers(self) -> Mapping[str, Broker]:
        """Itself, by its name."""
        return {"kafka": self}
