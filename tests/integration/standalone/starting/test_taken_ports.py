"""A port that was free at the start belongs to the archive, however long its process loads."""

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from core.errors import ConfigurationError
from core.settings import StandaloneSettings
from core.starting import LISTENING, taken_over
from standalone.ports import HOST, PortPlan, is_free
from standalone.supervision.model_choice import ModelChoice
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.role_keepers import RoleKeepers
from standalone.supervision.roles import ProcessSpec
from tests.integration.standalone.waiting import until
from tests.servers import REPOSITORY, first_port

PORT = first_port() + 300  # away from the session's own servers
LIMIT_S = 120
#: Serves one answer on the socket that it was handed, when a file says so.
SLOW_LOADER = """
import pathlib, socket, sys, time
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.05)
number = int(sys.argv[-1].partition("=")[2])
listening = socket.socket(fileno=number)
while True:
    client, _ = listening.accept()
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 4\\r\\nconnection: close\\r\\n\\r\\nours")
    client.close()
"""


def plan_of(home: Path, *roles: ProcessSpec) -> StandalonePlan:
    return StandalonePlan(
        settings=StandaloneSettings(home=home, ingress_port=PORT, metrics_port=PORT + 10),
        cache=home,
        model=ModelChoice("demo", "for a test"),
        secrets_key="key",
        archive_roots="",
        inherited=dict(os.environ),
        roles=roles,
    )


class Kept:
    """Roles without servers, and what came of them."""

    def __init__(self, home: Path, *roles: ProcessSpec) -> None:
        self.said: list[str] = []
        self.ended = threading.Event()
        self.reason = ""
        plan = plan_of(home, *roles)
        self.roles = RoleKeepers(
            plan, home, ports=PortPlan(), say=self.said.append, give_up=self._end
        )
        self.roles.open()

    def _end(self, reason: str) -> None:
        self.reason = reason
        self.ended.set()

    def start(self) -> None:
        self.roles.start(self.roles.planned(), dict(os.environ))

    def stop(self) -> None:
        for keeper in self.roles.close():
            keeper.request_stop()
        self.roles.stop_listening()


def ingress(source: str) -> ProcessSpec:
    role = ProcessSpec("ingress", ("-c", source), serves_metrics=False, serves_people=True)
    return replace(role, listens=True)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


@pytest.fixture
def kept(tmp_path: Path, gate: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path, ingress(SLOW_LOADER.format(gate=str(gate))))
    yield kept
    kept.stop()


def test_nobody_can_take_the_port_while_the_ingress_loads(kept: Kept, gate: Path) -> None:
    kept.start()

    with pytest.raises(OSError, match="in use"), socket.create_server((HOST, kept.roles.port)):
        pass
    assert not is_free(kept.roles.port)
    gate.touch()
    answer = httpx.get(f"http://{HOST}:{kept.roles.port}/livez", timeout=LIMIT_S)

    assert answer.text == "ours", "who came before it had loaded was waited upon by it"


def test_nobody_can_take_the_port_while_the_ingress_is_started_again(
    kept: Kept, gate: Path
) -> None:
    gate.touch()
    kept.start()
    url = f"http://{HOST}:{kept.roles.port}/livez"
    assert httpx.get(url, timeout=LIMIT_S).text == "ours"

    (keeper,) = kept.roles.all
    gate.unlink()
    os.kill(keeper.state().pid, 9)
    until(lambda: bool(keeper.state().restarts), "it is started again", LIMIT_S)
    with pytest.raises(OSError, match="in use"), socket.create_server((HOST, kept.roles.port)):
        pass
    gate.touch()

    assert httpx.get(url, timeout=LIMIT_S).text == "ours"


def test_two_archives_that_start_together_have_ports_of_their_own() -> None:
    with PortPlan().listen(PORT) as first, PortPlan().listen(PORT) as second:
        assert first.getsockname() != second.getsockname()


def test_the_port_is_free_again_after_the_stop(kept: Kept) -> None:
    port = kept.roles.port
    kept.start()
    until(lambda: bool(kept.roles.all), "it was started", LIMIT_S)
    kept.stop()

    assert is_free(port)
    assert kept.roles.port == port, "it is known where it was"


def test_an_ingress_that_is_refused_ends_everything_with_its_own_reason(tmp_path: Path) -> None:
    kept = Kept(tmp_path, ingress("print('configuration: X: wrong'); raise SystemExit(2)"))
    kept.start()
    try:
        assert kept.ended.wait(LIMIT_S)
        assert "configuration: X: wrong" in kept.reason
        assert kept.roles.lost == (kept.reason,)
    finally:
        kept.stop()


def test_the_metrics_of_a_role_have_their_port_from_the_start(tmp_path: Path) -> None:
    role = ProcessSpec("query-0", ("-c", "import time; time.sleep(600)"), listens=True)
    with socket.create_server((HOST, PORT + 10)):
        kept = Kept(tmp_path, role)
        kept.start()
        try:
            until(lambda: bool(kept.roles.metrics_ports), "it has a port", LIMIT_S)
            (port,) = kept.roles.metrics_ports.values()
            assert port > PORT + 10, "the wanted one is somebody else's"
            assert not is_free(port)
        finally:
            kept.stop()


def test_the_real_ingress_and_roles_take_such_a_socket_over(tmp_path: Path) -> None:
    source = """
import sys
from prometheus_client import CollectorRegistry
from core.starting import taken_over
from core.telemetry.exposition import expose_on
from core.telemetry.metrics import Metrics
expose_on(Metrics(CollectorRegistry()), taken_over(int(sys.argv[-1])))
print("serves", flush=True)
sys.stdin.read()
"""
    with PortPlan().listen(PORT + 20) as listening:
        port = listening.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-c", source, str(listening.fileno())],
            pass_fds=(listening.fileno(),), cwd=REPOSITORY, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == "serves\n"
            with urllib.request.urlopen(f"http://{HOST}:{port}/livez", timeout=LIMIT_S) as answer:
                assert answer.read() == b"ok\n"
            process.kill()


def test_what_is_no_listening_socket_is_named(tmp_path: Path) -> None:
    file = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ConfigurationError, match=f"{LISTENING}={file}: "):
        taken_over(file)
    os.close(file)
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        with pytest.raises(ConfigurationError, match="does not listen"):
            taken_over(bound.fileno())
        assert bound.getsockname(), "it is left to who has it"
