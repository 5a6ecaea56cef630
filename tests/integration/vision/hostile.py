"""Operations for decoder processes that imitate the effects of hostile pictures.

Passed to `DecodePool(operations=...)`, which gives this module's name to its workers.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from core.vision.decoding import worker, worker_protocol


def operations(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Return the real operations, except that bytes may begin with an order."""
    real = worker.picture_operations(job)
    return {**real, "decode": lambda data, head: obey(data) or real["decode"](data, head)}


def unable(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Raise, as in a worker that cannot start."""
    raise RuntimeError("no decoder library here")


def obey(data: bytes) -> tuple[worker_protocol.Head, bytes] | None:
    order, _, argument = data.partition(b" ")
    match order:
        case b"signal":
            os.kill(os.getpid(), int(argument))
        case b"signal-once":
            _crash_unless_marked(Path(argument.decode()))
        case b"exit":
            os._exit(int(argument))
        case b"sleep":
            time.sleep(float(argument))
        case b"spin":
            while True:
                pass
        case b"allocate":
            return {}, bytes(int(argument))
    return _lie(order)


def _lie(order: bytes) -> tuple[worker_protocol.Head, bytes] | None:
    if order == b"nonsense":
        return {"width": "many"}, b""
    if order == b"too-long":
        return {}, bytes(50_000_000)
    if order == b"raise":
        raise KeyError("a plugin's own bug")
    return None


def _crash_unless_marked(mark: Path) -> None:
    if not mark.exists():
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))  # empty: workers may not write files
        os.kill(os.getpid(), signal.SIGSEGV)
