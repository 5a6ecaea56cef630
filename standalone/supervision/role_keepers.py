"""The roles, each kept up: their sockets, their environments, and what follows when one is lost."""

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from core.errors import ConfigurationError
from standalone.ports import PortPlan
from standalone.processes.policy import LONGEST_DELAY_S, LONGEST_SERVING_DELAY_S
from standalone.processes.supervised_process import ProcessState, SupervisedProcess
from standalone.supervision.loading import cores, run_in_order
from standalone.supervision.model_choice import DEMO_MODEL
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.role_process import RoleProcess
from standalone.supervision.roles import ProcessSpec, all_roles, role_environment

PROJECT = Path(__file__).parents[2]
LOADING_S = 60.0  # a process that loads longer, a download for example, no longer holds up others


class RoleKeepers:
    """Keeps the roles of a plan up.

    It listens for those that serve, from before their start to its end, and hands them the socket:
    loading takes long, and nobody else may have the port meanwhile, or while one is down.

    Args:
        plan: the archive that they are of.
        home: its folder, resolved.
        ports: gives the ports.
        say: is called with messages for the person at the terminal, from several threads.
        give_up: is called with the reason when there is no use in the others without one.
    """

    def __init__(
        self,
        plan: StandalonePlan,
        home: Path,
        *,
        ports: PortPlan,
        say: Callable[[str], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._logs = home / "logs"
        self._ports = ports
        self._say = say
        self._give_up = give_up
        self._changing = threading.Lock()  # held while a role is started
        self._keepers: dict[str, SupervisedProcess] = {}
        self._processes: dict[str, RoleProcess] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._metrics_ports: dict[str, int] = {}
        self._entrance: socket.socket | None = None
        self._port = 0
        self._reached: Mapping[str, str] | None = None
        self._is_closed = False
        self._lost: list[str] = []

    def open(self) -> None:
        """Take the archive's own port; from now on a client that comes waits for the ingress.

        Raises:
            PortTaken: none is free.
        """
        self._entrance = self._ports.listen(self._plan.settings.ingress_port)
        self._port = _port_of(self._entrance)

    @property
    def port(self) -> int:
        """The archive's own port; 0 before `open`."""
        return self._port

    @property
    def metrics_ports(self) -> Mapping[str, int]:
        """The ports of the metrics, by the names of the roles."""
        with self._changing:
            return dict(self._metrics_ports)

    @property
    def lost(self) -> tuple[str, ...]:
        """Why roles are not started again, of each that nothing replaces."""
        return tuple(self._lost)

    @property
    def all(self) -> tuple[SupervisedProcess, ...]:
        """The keepers of the roles that were started."""
        with self._changing:
            return tuple(self._keepers.values())

    def states(self) -> tuple[ProcessState, ...]:
        """Return the states of the roles."""
        return tuple(keeper.state() for keeper in self.all)

    def planned(self) -> tuple[ProcessSpec, ...]:
        """Return the roles of the plan."""
        if self._plan.roles is not None:
            return self._plan.roles
        return all_roles(self._plan.settings.tagging_processes, self._plan.watched)

    def start(
        self,
        roles: Sequence[ProcessSpec],
        environment: Mapping[str, str],
        *,
        beside: Sequence[Callable[[], object]] = (),
    ) -> None:
        """Begin to start roles, each kept up from then on; return at once.

        Args:
            roles: in their order.
            environment: what all share, but for how to reach the servers.
            beside: what is to be loaded first; each returns when it has.
        """
        steps = [*beside]
        steps += [partial(self._start, role, environment) for role in roles]
        # Tagging may download a model: one more, so that the others go on meanwhile.
        run_in_order(steps, at_once=max(cores(), self._plan.settings.tagging_processes + 1))

    def release(self, servers: Mapping[str, str]) -> None:
        """Tell the processes where the servers are, those of today and of later."""
        with self._changing:
            self._reached = servers
            for process in self._processes.values():
                process.release(servers)

    def process(
        self,
        role: ProcessSpec,
        environment: Mapping[str, str],
        listening: socket.socket | None = None,
    ) -> RoleProcess:
        """Return a process of this home, not yet started."""
        log = self._logs / f"{role.name}.log"
        return RoleProcess(role, environment, log=log, directory=PROJECT, listening=listening)

    def _start(self, role: ProcessSpec, common: Mapping[str, str], **changed: str) -> None:
        """Start a role, unless everything ends; return when it has loaded or ended."""
        try:
            process = self._process_of(role, common, changed)
        except ConfigurationError as error:
            self._give_up(str(error))
            return

        def failed(reason: str) -> None:
            was_used = bool(keeper.state().restarts) or process.wait_until_loaded(0.0)
            if self._is_closed:
                return
            if _tags(role) and not changed and self._plan.model.may_fail:
                self._say(f"{role.name}: goes on with the bundled demo model")
                self._start(role, common, TAGGING_MODEL=DEMO_MODEL)
            else:
                self._lose(role, reason, was_used=was_used or bool(changed))

        keeper = SupervisedProcess(
            role.name,
            process,
            say=self._say,
            failed=failed,
            longest_delay_s=LONGEST_SERVING_DELAY_S if role.serves_people else LONGEST_DELAY_S,
        )
        with self._changing:
            if self._is_closed:
                return
            self._keepers[role.name], self._processes[role.name] = keeper, process
            if self._reached is not None:
                process.release(self._reached)
            keeper.start()
        with contextlib.suppress(ConfigurationError):  # it was said at the terminal
            keeper.wait_until_up()
            process.wait_until_loaded(LOADING_S)

    def _process_of(
        self, role: ProcessSpec, common: Mapping[str, str], changed: Mapping[str, str]
    ) -> RoleProcess:
        listening = self._socket_of(role)

        def metrics_port() -> int:
            return self._metrics_ports.get(role.name) or self._free_metrics_port()

        environment = {**role_environment(role, common, metrics_port), **changed}
        return self.process(role, environment, listening)

    def _lose(self, role: ProcessSpec, reason: str, *, was_used: bool) -> None:
        """End everything without what takes requests, or where the model is refused.

        A model that was named is used or refused: nobody waits for tags that never come.
        """
        self._lost.append(reason)
        if role.serves_people or (_tags(role) and not was_used):
            self._give_up(reason)

    def _socket_of(self, role: ProcessSpec) -> socket.socket | None:
        """Return the socket that a role takes over; None: it has none, or binds its own."""
        if not role.listens:
            return None
        if role.serves_people:
            return self._entrance
        with self._changing:
            if self._is_closed:
                return None  # it is not started any more, and its socket would stay open
            if role.name not in self._sockets:
                wanted = self._plan.settings.metrics_port
                made = self._sockets[role.name] = self._ports.listen(wanted)
                self._metrics_ports[role.name] = _port_of(made)
            return self._sockets[role.name]

    def _free_metrics_port(self) -> int:
        return self._ports.choose(self._plan.settings.metrics_port)

    def close(self) -> tuple[SupervisedProcess, ...]:
        """Start no role from now on; return the keepers of those that were started."""
        with self._changing:
            self._is_closed = True
            return tuple(self._keepers.values())

    def stop_listening(self) -> None:
        """Give the ports back, when the roles have ended."""
        for one in (self._entrance, *self._sockets.values()):
            if one is not None:
                one.close()


def _tags(role: ProcessSpec) -> bool:
    return role.argv[-1] == "tagging"


def _port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port
