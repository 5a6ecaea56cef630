"""Choice of loopback ports for the embedded servers.

All are below 32768. Linux uses ports from 32768 on as source ports, and a client that polls such a
port before its server listens sooner or later connects to itself.
"""

import errno
import socket
import sys
import threading
from collections.abc import Callable, Collection

from standalone.failures import PortTaken

HOST = "127.0.0.1"
HIGHEST_PORT = 32767
PORTS_TRIED = 200
BACKLOG = 2048  # clients that wait while the process that serves them loads
_TAKEN = {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform == "linux":
            # As both servers do: else a port is refused for 60 s after a restart, because of
            # connections in TIME_WAIT. Elsewhere the option would hide wildcard listeners.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)  # two sockets may be bound with the option, but only one may listen
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
    return True


class PortPlan:
    """The ports of one archive, of which none is given twice. Any thread may ask."""

    def __init__(self) -> None:
        self._choosing = threading.Lock()
        self._given: set[int] = set()

    def choose(self, wanted: int) -> int:
        """Return the wanted port, or the next one above it that is free and was not given.

        Raises:
            PortTaken: see `choose_port`.
        """
        with self._choosing:
            port = choose_port(wanted, avoid=self._given)
            self._given.add(port)
            return port

    def listen(self, wanted: int) -> socket.socket:
        """Return a socket that listens on the wanted port or the next one that can be had.

        From now on nobody else gets it: what is bound without listening could be taken.

        Raises:
            PortTaken: see `choose_port`.
        """
        while True:
            port = self.choose(wanted)
            try:
                return socket.create_server((HOST, port), backlog=BACKLOG)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise


def choose_port(
    wanted: int, *, avoid: Collection[int] = (), free: Callable[[int], bool] = is_free
) -> int:
    """Return the wanted port, or the next free one above it.

    Nothing reserves the port: a server that finds it taken later asks again.

    Args:
        wanted: first port to try, at most 32767.
        avoid: ports that other servers will use.
        free: returns whether a server could listen on a port.

    Raises:
        PortTaken: none of the 200 ports from the wanted one on is free.
    """
    last = min(wanted + PORTS_TRIED - 1, HIGHEST_PORT)
    for port in range(wanted, last + 1):
        if port not in avoid and free(port):
            return port
    raise PortTaken(f"no free port from {wanted} to {last} on {HOST}; end what listens there")
