"""Work that ends when it is done or when a signal says so, at whatever moment it comes."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNWINDING_S = 1.0  # for the work to notice that everything has ended
#: What the pipe carries beside the numbers of signals.
_ENDED, _STOPPED = 0, 255


@dataclass(slots=True)
class _Outcome:
    """How the work ended, once it has."""

    code: int = 0
    error: BaseException | None = None


def run_until_told(
    work: Callable[[], int],
    *,
    stop: Callable[[], None],
    kill: Callable[[], None],
    say: Callable[[str], None],
) -> int:
    """Do the work until it ends or SIGINT or SIGTERM comes, then stop; return the exit code.

    A signal here is a byte in a pipe that the main thread reads, and the work has a thread of its
    own. Two other ways were tried and hang, seldom and for ever. A handler that raises an
    exception, as KeyboardInterrupt is one, may do so between taking a lock and entering the block
    that gives it back; the stop then waits for that lock. And a main thread that waits for a lock
    or a queue is not woken by a signal that the system gives to another thread, which it may.

    Args:
        work: is left to itself when a signal has come; it fails or ends when all is stopped.
        stop: ends everything that the work has started.
        kill: ends it at once; is called at each further signal.
        say: is called with messages for the person at the terminal.

    Raises:
        BaseException: what the work raised before a signal came.
    """
    outcome = _Outcome()
    with _pipe() as (hear, tell):
        worker = _begin(lambda: _do(work, outcome), then=lambda: tell(_ENDED))
        was_told = next(hear) != _ENDED
        _begin(stop, then=lambda: tell(_STOPPED))
        for word in hear:
            if word == _STOPPED:
                break
            if word != _ENDED:
                say("stopping at once")
                kill()
    if was_told:
        worker.join(UNWINDING_S)
        say("stopped")
        return 0
    if outcome.error is not None:
        raise outcome.error
    return outcome.code


def _do(work: Callable[[], int], outcome: _Outcome) -> None:
    try:
        outcome.code = work()
    except BaseException as error:  # noqa: BLE001  # it is raised again, in the main thread
        outcome.error = error


def _begin(step: Callable[[], None], *, then: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            step()
        finally:
            then()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@contextmanager
def _pipe() -> Iterator[tuple[Iterator[int], Callable[[int], None]]]:
    """Yield the words that come, of signals too, and a function that sends one."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    wakeup = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    handlers = [(number, signal.signal(number, _let_pass)) for number in SIGNALS]

    def words() -> Iterator[int]:
        while True:
            yield from os.read(readable, 64)

    try:
        yield words(), lambda word: _send(writable, word)
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(readable)  # not the other end: the work may still be under way and send its word


def _let_pass(number: int, frame: object) -> None:
    """Do nothing: with a handler of Python's, Python writes the number into the pipe."""


def _send(descriptor: int, word: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the work ended after the stop
        os.write(descriptor, bytes((word,)))
