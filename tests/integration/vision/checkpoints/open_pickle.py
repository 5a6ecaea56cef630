"""What a reader of pickles could do if it were not sealed: open a file."""

from collections.abc import Mapping
from pathlib import Path

from core.vision.decoding import worker, worker_protocol


def operations(_: worker.Job) -> Mapping[str, worker.Operation]:
    """Return an operation that reads what every process may read."""

    def read(_: bytes, __: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        return {}, Path("/etc/passwd").read_bytes()

    return {"table": read}
