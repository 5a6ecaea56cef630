"""The decoder's process: one picture at a time from a socket, within hard limits, sealed.

Started by `decoder.DecodePool` as `python -m core.vision.decoding.worker FD JOB`. Ends when its
socket closes, when its parent dies, or when a picture kills it.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ImageUnreadable
from core.tags import ThumbSize
from core.vision.decoding import sealing, worker_protocol

#: What a worker can do with a picture: (bytes, arguments) -> (head, body).
Operation = Callable[[bytes, worker_protocol.Head], tuple[worker_protocol.Head, bytes]]

#: What Pillow imports inside of functions, beside its plugins; a sealed process can import nothing.
_IMPORTED_LATE = ("ImageCms", "ImageColor", "ImageFilter", "ImagePalette")

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Job:
    """The settings that the parent sends its worker at the start.

    Attributes:
        memory_bytes: limit of the address space (RLIMIT_AS).
        cpu_s: processor seconds that one picture may take.
        parent: process id of the parent.
        max_image_bytes: largest request body.
        max_pixels: largest source picture.
        max_side: largest side of a source picture.
        operations: `module:function` giving the table of operations for this job.
    """

    memory_bytes: int
    cpu_s: int
    parent: int
    max_image_bytes: int
    max_pixels: int
    max_side: int
    operations: str


def main(arguments: list[str]) -> int:
    """Serve until the parent closes its end; return the exit code."""
    connection = socket.socket(fileno=int(arguments[0]))
    job = Job(**json.loads(arguments[1]))
    die_with_parent(job.parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ctrl-C signals the whole group; the parent still needs us to finish its batch.
        signal.signal(number, signal.SIG_IGN)
    try:
        operations = load_operations(job)
        restrict(job.memory_bytes)
        unsealed = sealing.seal(connection.fileno())
        send(connection, {"ready": os.getpid(), "unsealed": unsealed}, b"")
    except Exception as error:  # noqa: BLE001 - nobody reads stderr; the parent reports it
        send(connection, {"failed": f"{type(error).__name__}: {error}"}, b"")
        return 1
    with contextlib.suppress(worker_protocol.WireBroken, BrokenPipeError):
        serve(connection, job, operations)
    return 0


def load_operations(job: Job) -> Mapping[str, Operation]:
    """Import the function that the job names and ask it for the operations."""
    module, _, name = job.operations.partition(":")
    table: Mapping[str, Operation] = getattr(importlib.import_module(module), name)(job)
    return table


def serve(connection: socket.socket, job: Job, operations: Mapping[str, Operation]) -> None:
    """Answer requests one by one; end the process after a picture that used up the memory."""
    gc.freeze()  # what the libraries made for good is not looked at again
    while True:
        head, data = receive(connection, job.max_image_bytes)
        allow_cpu(job.cpu_s)
        head, body = answer(operations[head.pop("do")], data, head)
        send(connection, head, body)
        if head.get("reason") == "decoder_memory":
            return  # ending frees what a C library kept after a failed allocation
        del data, body
        gc.collect()  # pictures and errors that refer to each other would stay beside the next


def answer(
    operation: Operation, data: bytes, arguments: worker_protocol.Head
) -> tuple[worker_protocol.Head, bytes]:
    """Run one operation; an error of the picture becomes a head with a reason."""
    try:
        return operation(data, arguments)
    except ImageUnreadable as error:
        return {"error": str(error)[:2000], "reason": error.reason}, b""
    except MemoryError:
        return {"error": "decoding needs more memory than allowed", "reason": "decoder_memory"}, b""
    except Exception as error:  # noqa: BLE001 - libraries raise nearly anything on hostile bytes
        return {"error": f"{type(error).__name__}: {error}"[:2000], "reason": "corrupt"}, b""


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill us when the parent dies, also by SIGKILL while a picture decodes.

    Linux only; elsewhere the closed socket and RLIMIT_CPU end the process a little later.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):  # the OOM killer should choose us
            Path("/proc/self/oom_score_adj").write_text("500")
    if os.getppid() != parent:  # the parent died before the call
        sys.exit(1)


def restrict(memory_bytes: int) -> None:
    """Limit memory; forbid core dumps and writing to files."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def allow_cpu(seconds: int) -> None:
    """Let this picture use some processor time; beyond it the kernel sends SIGXCPU.

    The parent's wall clock usually comes first. This holds when the parent cannot act.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, hard))


def receive(connection: socket.socket, max_body_bytes: int) -> tuple[worker_protocol.Head, bytes]:
    """Read one frame.

    Raises:
        wire.WireBroken: the parent closed, or sent what is no frame.
    """
    prefix = _exactly(connection, worker_protocol.PREFIX.size)
    head_bytes, body_bytes = worker_protocol.unpack_prefix(prefix, max_body_bytes)
    head = worker_protocol.unpack_head(_exactly(connection, head_bytes))
    return head, _exactly(connection, body_bytes)


def _exactly(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes; they are received where they stay, since a file may be large."""
    data = connection.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        raise worker_protocol.WireBroken("the parent closed")
    return data


def send(connection: socket.socket, head: worker_protocol.Head, body: bytes) -> None:
    """Write one frame."""
    connection.sendall(worker_protocol.pack(head, len(body)))
    connection.sendall(body)


def picture_operations(job: Job) -> Mapping[str, Operation]:
    """Return the real operations, with the decoders' libraries loaded and ready."""
    from core.vision.decoding import outgoing, pixels, sniff, thumbnail

    limits = sniff.Limits(job.max_pixels, job.max_side)
    pixels.prepare_libraries(limits)
    for name in _IMPORTED_LATE:
        importlib.import_module(f"PIL.{name}")

    def decode(data: bytes, arguments: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        picture = pixels.decode(data, worker_protocol.PixelFormat(**arguments), limits)
        shot = picture.shot
        head: dict[str, Any] = {
            "media_type": picture.media_type,
            "width": picture.width,
            "height": picture.height,
            "sha256": picture.sha256.hex(),
            "exif_datetime": shot.moment.isoformat() if shot else None,
            "exif_source": shot.source if shot else None,
            "camera": picture.camera,
            "grey": picture.grey.hex(),
            "page": picture.page_size,
            "truncated": picture.truncated,
            "colour": picture.colour.hex(),
        }
        return head, picture.pixels + picture.page + picture.thumb

    def strip(data: bytes, _: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        kind, copy = outgoing.strip_metadata(data, limits)
        if len(copy) > worker_protocol.MAX_COPY_BYTES:
            text = f"copy of {len(copy)} bytes, limit {worker_protocol.MAX_COPY_BYTES}"
            raise ImageUnreadable(text, reason="too_many_bytes")
        return {"media_type": kind}, copy

    def thumb(data: bytes, arguments: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        size = ThumbSize(arguments["size"])
        return {"media_type": sniff.JPEG}, thumbnail.made(data, limits, size)

    return {"decode": decode, "strip": strip, "thumb": thumb}


if __name__ == "__main__":
    # Without Python's own clean-up, which would write to what `sealing` has made read-only.
    os._exit(main(sys.argv[1:]))
