"""PgBouncer in front of a PostgreSQL, where it is installed (Debian's package `pgbouncer`)."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from standalone.ports import HOST, choose_port
from standalone.postgres.unix_user import unprivileged_user
from standalone.processes.child_process import guarded
from tests.servers import first_port, make_home

UP_S = 30.0
STOP_S = 20.0
FIRST_PORT = 350  # in the range of this worker
SETTINGS = """\
[databases]
* = host={host} port={port} user={user} password={password}

[pgbouncer]
listen_addr = {listen}
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 5
max_client_conn = 500
ignore_startup_parameters = {ignored}
logfile = {log}
"""


@contextmanager
def running_pgbouncer(
    url: str, *, mode: str = "transaction", ignored: str = "extra_float_digits"
) -> Iterator[str]:
    """Yield the URL of the same database through a pooler; skip the test where there is none.

    Args:
        url: of a database that `tests.servers` made.
        mode: `transaction`, `session` or `statement`.
        ignored: parameters of a start that it passes over, as operators set it after a refusal.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    server, own_port = urlsplit(url), choose_port(first_port() + FIRST_PORT)
    home = make_home("pgbouncer")
    settings = home / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(
            host=server.hostname,
            port=server.port,
            user=server.username,
            password=server.password,
            listen=HOST,
            own_port=own_port,
            mode=mode,
            ignored=ignored,
            log=home / "pgbouncer.log",
        )
    )
    user = unprivileged_user(home / "none")
    if user is not None:  # it refuses to run as root
        os.chown(home, user.uid, user.gid)
        os.chown(settings, user.uid, user.gid)
    process = subprocess.Popen(
        guarded([program, "-q", str(settings)], user=user), stdin=subprocess.DEVNULL
    )
    try:
        _wait_until_up(own_port, process, home / "pgbouncer.log")
        yield f"postgresql://{server.username}@{HOST}:{own_port}{server.path}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_up(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection((HOST, port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    told = log.read_text() if log.exists() else ""
    raise RuntimeError(f"PgBouncer did not come up: {told}")
