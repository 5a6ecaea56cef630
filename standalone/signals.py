"""Work that ends when it is done or when a signal says so, at whatever moment it comes."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

UNWINDING_S = 2.0  # for the work to notice that everything has ended


@dataclass(frozen=True, slots=True)
class _Ended:
    """The work has ended, by itself."""

    code: int = 0
    error: BaseException | None = None


class _Stopped:
    """Everything has been stopped."""


class _Told:
    """A signal has come."""


def run_until_told(
    work: Callable[[], int],
    *,
    stop: Callable[[], None],
    kill: Callable[[], None],
    say: Callable[[str], None],
) -> int:
    """Do the work until it ends or SIGINT or SIGTERM comes, then stop; return the exit code.

    A signal here only puts a word into a queue, and the work has a thread of its own. A handler
    that raised an exception, as KeyboardInterrupt is one, could do so between taking a lock and
    entering the block that gives it back (`threading.Condition` enters by a function of Python's):
    the stop would then wait for that lock for ever.

    Args:
        work: is left to itself when a signal has come; it fails or ends when all is stopped.
        stop: ends everything that the work has started.
        kill: ends it at once; is called at each further signal.
        say: is called with messages for the person at the terminal.

    Raises:
        BaseException: what the work raised before a signal came.
    """
    events: SimpleQueue[_Ended | _Stopped | _Told] = SimpleQueue()  # may be used in a handler
    worker = _Thread(lambda: events.put(_outcome(work)))
    before = [
        (number, signal.signal(number, lambda *_: events.put(_Told())))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        worker.start()
        first = events.get()
        _stop(events, stop=stop, kill=kill, say=say)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if isinstance(first, _Ended):
        if first.error is not None:
            raise first.error
        return first.code
    worker.join(UNWINDING_S)
    say("stopped")
    return 0


class _Thread(threading.Thread):
    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, daemon=True)


def _outcome(work: Callable[[], int]) -> _Ended:
    try:
        return _Ended(work())
    except BaseException as error:  # noqa: BLE001  # it is raised again, in the main thread
        return _Ended(error=error)


def _stop(
    events: "SimpleQueue[_Ended | _Stopped | _Told]",
    *,
    stop: Callable[[], None],
    kill: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Stop on a thread, so that a further signal finds us here and not inside a lock."""

    def stopping() -> None:
        try:
            stop()
        finally:
            events.put(_Stopped())

    _Thread(stopping).start()
    while not isinstance(event := events.get(), _Stopped):
        if isinstance(event, _Told):
            say("stopping at once")
            kill()
