"""The beginning of a process: it loads beside its servers, and ends at once when it is told to.

A supervisor that starts servers and processes at the same time gives these the option `--held`. A
held process imports and loads, prints that it has, and then reads the rest of its environment from
its standard input, as one JSON object. It asks no server for anything and reads no address before,
for these are known only when the servers are up. If that input ends without a word the supervisor
is gone, and so goes the process: with the defaults it would work on whatever archive listens there.

A process that serves may also be given, by `--listening`, a socket that listens already: the
supervisor took the port before the process loaded, and keeps it while the process is down.
"""

import asyncio
import json
import os
import signal
import socket
import sys

from core.errors import ConfigurationError, TransientError

HELD = "--held"
LISTENING = "--listening"
#: A held process prints this line when it has loaded.
LOADED = '{"event": "loaded"}'
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_once_when_told() -> None:
    """Let a signal end the process without a word, also in the middle of an import.

    That is SIGTERM's default already; Python takes SIGINT and looks at it only between two steps of
    its own, which an import of a large library makes seldom.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def released(*, is_held: bool) -> None:
    """Return when the servers may be used: at once, unless the process is held.

    Call it when everything is loaded, before the first setting of a server is read.

    Raises:
        TransientError: whoever held it ended without releasing it.
    """
    if is_held:
        print(LOADED, flush=True)  # noqa: T201  # whatever the level of the logs is
        # On a thread, since the event loop cannot watch every kind of standard input.
        rest = await asyncio.to_thread(sys.stdin.read)
        try:
            os.environ.update(json.loads(rest))
        except ValueError as error:
            raise TransientError(
                f"{HELD}: standard input ended without one JSON object of variables"
            ) from error


def taken_over(descriptor: int) -> socket.socket:
    """Return the listening socket that the process inherited; its own children do not.

    Raises:
        ConfigurationError: the descriptor is none of a socket that listens.
    """
    try:
        os.set_inheritable(descriptor, False)
        listening = socket.socket(fileno=descriptor)
        if listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return listening
        listening.detach()
    except OSError as error:
        raise ConfigurationError(f"{LISTENING}={descriptor}: {error.strerror}") from error
    raise ConfigurationError(f"{LISTENING}={descriptor}: the socket does not listen")


class Beginning:
    """The beginning of a role, whose end the role itself knows.

    Attributes:
        listening: the descriptor of the socket that it serves on; None: it binds its own.
    """

    def __init__(self, *, is_held: bool, listening: int | None = None) -> None:
        self.listening = listening
        self._is_held = is_held
        self._stop = asyncio.Event()

    async def over(self) -> asyncio.Event:
        """Wait until the servers may be used; return the event that signals set from now on.

        Until now they ended the process at once: there was nothing to finish or to give back.
        """
        await released(is_held=self._is_held)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop)
        return self._stop

    def _asked_to_stop(self) -> None:
        """Ask the role to stop; a second signal ends the process: its batch is done again later."""
        if self._stop.is_set():
            os._exit(1)
        self._stop.set()
