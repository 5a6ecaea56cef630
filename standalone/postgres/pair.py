"""A primary and its standby on one machine: when the primary dies, the standby takes its place.

The standby is waited for: what was acknowledged is on its disk too. Only such a standby is
promoted, so nothing is lost; where it was away, a dead primary is started again, as without one.
In production this is the work of Patroni or CloudNativePG (docs/decisions/0048).
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import PhotoTaggerError
from standalone.ports import HOST, PortPlan
from standalone.postgres import lineage
from standalone.postgres.joining import ALONE_AFTER_S, Joining, JoiningStep, PairLook
from standalone.postgres.node import PostgresNode, Replication
from standalone.postgres.server import DATABASE
from standalone.postgres.standby import StandbyProcess

#: An end of either process is heard of at once: this is for a connection that broke.
LOOK_S, LOOK_SOON_S = 2.0, 0.2


class PostgresPair:
    """Runs as one PostgreSQL that survives the death of its server.

    Args:
        home: folder of the standalone mode.
        port: first port to try; that of the second server is above it.
        plan: gives the ports.
        say: is called with messages for the person at the terminal.
    """

    def __init__(
        self, home: Path, port: int, *, plan: PortPlan, say: Callable[[str], None]
    ) -> None:
        self._home = home
        self.say = say
        logs = home.resolve() / "logs"
        first, second = (
            PostgresNode(home, wanted, log=logs / name, plan=plan, folder=folder)
            for wanted, name, folder in zip(
                (port, port + 1),
                ("postgres.log", "postgres-second.log"),
                lineage.folders(home),
                strict=True,
            )
        )
        self._nodes = (first, second)
        is_swapped = lineage.primary_folder(home) == lineage.folders(home)[1]
        self._primary, self._standby = (second, first) if is_swapped else (first, second)
        self._changing = threading.Lock()  # of who is the primary, and whether it waits
        self._joining = Joining()
        self._stop_asked = False
        self._news = threading.Event()
        self._watch: threading.Thread | None = None
        self.follower = StandbyProcess(self)

    # -- as one server

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of both, the first place's first."""
        return tuple(port for node in self._nodes for port in node.ports)

    @property
    def url(self) -> str:
        """The DSN of the database `photo_archive` at whichever server leads. It has a password."""
        first, second = self.ports
        login = self._primary.url.partition("@")[0]
        return f"{login}@{HOST}:{first},{HOST}:{second}/{DATABASE}?target_session_attrs=read-write"

    @property
    def admin_url(self) -> str:
        """The DSN of the superuser at the server that leads now. It holds the password."""
        return self._primary.admin_url

    @property
    def pid(self) -> int:
        """The process id of the primary; 0 when it never ran."""
        return self._primary.pid

    @property
    def primary(self) -> PostgresNode:
        """The server that leads now."""
        return self._primary

    @property
    def standby(self) -> PostgresNode:
        """The server that follows, or will."""
        return self._standby

    @property
    def is_in_step(self) -> bool:
        """Whether the standby has all that was acknowledged."""
        return self._joining.is_in_step

    # -- as a process that is kept up

    def start(self) -> None:
        """Start the primary; return when it takes writes. Its standby comes by itself.

        Raises:
            ConfigurationError, ServerFailed: as `EmbeddedServer.start`.
        """
        with self._changing:
            self._stop_asked = False
            self._joining = Joining()
            self._primary.lead()
            if lineage.primary_folder(self._home) != self._primary.folder:  # `_replace` gave up
                lineage.name_primary(self._home, self._primary.folder)
            for node in self._nodes:
                node.reserve_port()
        self._primary.start()
        if self._watch is None or not self._watch.is_alive():
            self._watch = threading.Thread(target=self._keep_watch, name="pair", daemon=True)
            self._watch.start()
        self._news.set()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until no server leads; return the exit code of the last one, or None."""
        while True:
            primary = self._primary
            code = primary.wait(timeout_s)
            if code is None or not self._replace(primary, code):
                return code

    def stop(self) -> None:
        """Stop the primary cleanly; its standby does not take its place."""
        with self._changing:
            self._stop_asked = True
        self._news.set()
        self._primary.stop()

    def kill(self) -> None:
        """Kill the primary; its standby does not take its place."""
        with self._changing:
            self._stop_asked = True
        self._primary.kill()

    def tail(self) -> str:
        """Return the primary's last lines."""
        return self._primary.tail()

    def obstacle(self) -> str:
        """Return why another start of the primary cannot help; empty where it may help."""
        return self._primary.obstacle()

    # -- failover

    def _replace(self, dead: PostgresNode, code: int) -> bool:
        """Put the standby in a dead primary's place; return whether it takes writes.

        The order matters: nothing of the dead one works any more, it is noted who leads, and its
        data can lead no more, before there is another primary.
        """
        with self._changing:
            heir = self._standby
            if self._stop_asked or not self._joining.is_in_step or not heir.is_running:
                return False
            began = time.monotonic()
            try:
                dead.end_for_sure()
                lineage.name_primary(self._home, heir.folder)
                dead.fence(f"its server ended with code {code}, and its standby took its place")
            except (PhotoTaggerError, OSError) as error:
                self.say(f"postgres: its standby does not take its place: {error}")
                return False
            self._primary, self._standby = heir, dead
            self._joining = Joining()
            try:
                heir.promote()
            except (PhotoTaggerError, OSError) as error:
                self.say(f"postgres: the standby was not promoted: {error}")
                heir.stop()
                return False
        self.say(
            f"postgres (port {dead.port}) ended with code {code}: its standby (port {heir.port}) is"
            f" the primary since {time.monotonic() - began:.1f} s; a new standby is being made"
        )
        self._news.set()
        return True

    # -- the standby

    def _keep_watch(self) -> None:
        is_well, trouble = False, ""
        while not self._stop_asked:
            self._news.wait(LOOK_S if is_well else LOOK_SOON_S)
            self._news.clear()
            primary, found = self._primary, Replication()
            try:
                if self._standby.is_running and primary.is_ready:
                    found = primary.replication()
                self._act(primary, found)
                trouble = ""
            except PhotoTaggerError:
                pass  # it is starting, or dying: its own supervision says so
            except OSError as error:  # a full disk: what failed is tried again at the next look
                if str(error) != trouble:
                    trouble = str(error)
                    self.say(f"postgres: its standby cannot be looked after: {trouble}")
            is_well = found.streams and self._joining.is_in_step

    def _act(self, primary: PostgresNode, found: Replication) -> None:
        """Do the next step towards a standby that is waited for, or away from one that is gone."""
        look = PairLook(
            streams=found.streams,
            is_waited_for=found.is_waited_for,
            is_connected=found.is_connected,
            runs=self._standby.is_running,
        )
        if found.is_waited_for and not self._joining.is_in_step:
            primary.checkpoint()
        with self._changing:
            if primary is not self._primary or not primary.is_running or self._stop_asked:
                return
            step = self._joining.next(look, time.monotonic())
            if step in {JoiningStep.WAIT_FOR_IT, JoiningStep.GO_ALONE}:
                primary.wait_for_standby(is_waited_for=step is JoiningStep.WAIT_FOR_IT)
            if step is JoiningStep.MAKE_ANEW:
                self._standby.call_unfit("it could not follow any more")
            self._joining.done(step)
        if step is JoiningStep.MAKE_ANEW:
            self._standby.kill()  # its next start makes it anew
        if step in _SAID:
            self.say(f"postgres: {_SAID[step]}")
        if step in {JoiningStep.WAIT_FOR_IT, JoiningStep.IN_STEP}:
            self._news.set()

    def ask_news(self) -> None:
        """Look at once: something has happened to the standby."""
        self._news.set()


_SAID = {
    JoiningStep.IN_STEP: "the standby has everything and is waited for: either server may die",
    JoiningStep.GO_ALONE: f"the standby is away for {ALONE_AFTER_S:.0f} s: it goes on alone",
    JoiningStep.MAKE_ANEW: "the standby cannot follow any more: it is made anew",
}
