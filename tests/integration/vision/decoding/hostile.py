"""Operations for decoder processes that imitate the effects of hostile pictures.

Passed to `DecodePool(operations=...)`, which gives this module's name to its workers.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping

from core.vision.decoding import worker, worker_protocol


def operations(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Return the real operations, except that bytes may begin with an order."""
    real = worker.picture_operations(job)
    seen: list[bytes] = []

    def decode(data: bytes, head: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        if data == b"signal-unless-fresh" and seen:
            signal.raise_signal(signal.SIGSEGV)
        seen.append(data[:20])
        return obey(data) or real["decode"](data, head)

    def strip(data: bytes, head: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        if data == b"modules":
            return {"media_type": "text/plain"}, " ".join(sys.modules).encode()
        return real["strip"](data, head)

    return {**real, "decode": decode, "strip": strip}


def unable(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Raise, as in a worker that cannot start."""
    raise RuntimeError("no decoder library here")


def obey(data: bytes) -> tuple[worker_protocol.Head, bytes] | None:
    order, _, argument = data.partition(b" ")
    match order:
        case b"signal":
            signal.raise_signal(signal.Signals(int(argument)))
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
