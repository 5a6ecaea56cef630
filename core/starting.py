"""The beginning of a process: it loads beside its servers, and ends at once when it is told to.

A supervisor that starts servers and processes at the same time gives these the option `--held`. A
held process imports and loads, prints that it has, and then reads the rest of its environment from
its standard input, as one JSON object. It asks no server for anything and reads no address before,
for these are known only when the servers are up. If that input ends without a word the supervisor
is gone, and so goes the process: with the defaults it would work on whatever archive listens there.
"""

import asyncio
import json
import os
import signal
import sys

from core.errors import TransientError

HELD = "--held"
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


class Beginning:
    """The beginning of a role, whose end the role itself knows."""

    def __init__(self, *, is_held: bool) -> None:
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
