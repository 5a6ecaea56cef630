"""Schema, labels and topics: the process that brings them up to date while the servers start."""

from collections.abc import Mapping

from core.errors import ConfigurationError
from standalone.failures import ServerFailed
from standalone.processes.policy import CONFIGURATION_EXIT
from standalone.supervision.role_process import RoleProcess
from standalone.supervision.roles import ProcessSpec

MIGRATIONS = ProcessSpec("migrations", ("-m", "migrations"), loads_first=True)
TIMEOUT_S = 1200.0  # 2 s as a rule; a machine under load took minutes
_WRONG = "configuration: "


def migrate(process: RoleProcess, servers: Mapping[str, str]) -> None:
    """Let the process of `MIGRATIONS`, which was started, do its work; return when it is done.

    Raises:
        ConfigurationError: a setting is invalid, or the home is of a version that cannot be
            upgraded; the message is one sentence.
        ServerFailed: it failed; the message has its output.
    """
    process.release(servers)
    code = process.wait(TIMEOUT_S)
    if code == CONFIGURATION_EXIT:
        sentences = [line for line in process.tail().splitlines() if line.startswith(_WRONG)]
        raise ConfigurationError(sentences[-1].removeprefix(_WRONG) if sentences else "")
    if code:
        raise ServerFailed(f"python -m migrations ended with {code}:\n{process.tail()}")
    if code is None:
        process.kill()
        raise ServerFailed(f"python -m migrations took longer than {TIMEOUT_S:.0f} s")
