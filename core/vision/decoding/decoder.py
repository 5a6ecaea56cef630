"""A pool of processes that turn untrusted bytes into pixels. Errors are values.

Torch-free, so that delivery can hold one too. Why processes, and why these, stands in
docs/decisions/0007-decode-in-worker-processes.md.
"""

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray

from core.errors import ConfigurationError, ImageUnreadable, PermanentError, TransientError
from core.settings import DecodeSettings
from core.vision.decoding import sealing, sniff, worker, worker_protocol
from core.vision.decoding.metadata import moments
from core.vision.decoding.metadata.names import camera_name
from core.vision.decoding.perceptual import perceptual_hash
from core.vision.decoding.worker_process import DecoderProcess, Died, NotStarted, PoolLimits, ending

log = structlog.get_logger(__name__)

_MAX_WORKERS = 8
_REASON = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture as the model sees it.

    Attributes:
        pixels: uint8, (height, width, 3), RGB.
        media_type: the media type of the bytes.
        width: of the source as seen, after EXIF orientation.
        height: of the source as seen.
        sha256: of the source's bytes.
        exif_datetime: time of the shot as written, without zone.
        exif_source: the field that it comes from, one of `worker_protocol.EXIF_SOURCES`.
        camera: maker and model, at most 100 characters.
        perceptual_hash: see `perceptual.perceptual_hash`; the same whatever engine comes next.
        truncated: whether the file ends before the picture does; the pixels show what there is.
    """

    pixels: NDArray[np.uint8]
    media_type: str
    width: int
    height: int
    sha256: bytes
    exif_datetime: datetime | None
    camera: str | None = None
    perceptual_hash: int | None = None
    truncated: bool = False
    exif_source: str | None = None


@dataclass(frozen=True, slots=True)
class OutgoingCopy:
    """An encoded picture made from another."""

    media_type: str
    data: bytes


def pool_limits(settings: DecodeSettings, max_image_bytes: int) -> PoolLimits:
    """Return the pool's limits from the settings; 0 workers mean one per core, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return PoolLimits(
        workers=settings.workers or min(cores or 1, _MAX_WORKERS),
        timeout_s=settings.timeout_s,
        memory_bytes=settings.memory_bytes,
        max_image_bytes=max_image_bytes,
        picture=sniff.Limits(settings.max_pixels),
    )


class DecodePool:
    """Decodes pictures in worker processes; a picture that kills its worker fails alone.

    Use as an async context manager: workers are warm when the block is entered and gone when it
    is left. Enter it on the thread that lives as long as the process, since Linux's parent-death
    signal looks at the thread that started a worker.

    Args:
        limits: processes, time, memory, sizes.
        pixels: the form in which `decode` gives pixels.
        operations: for tests: a module-level function that gives the worker's table of
            operations, e.g. one that crashes on certain bytes. It is imported in the worker by
            its name.
    """

    def __init__(
        self,
        limits: PoolLimits,
        pixels: worker_protocol.PixelFormat | None = None,
        *,
        operations: Callable[[worker.Job], Mapping[str, worker.Operation]] | None = None,
    ) -> None:
        chosen = operations or worker.picture_operations
        self._operations = f"{chosen.__module__}:{chosen.__qualname__}"
        self._limits = limits
        self._pixels = pixels or worker_protocol.PixelFormat()
        self._free: deque[DecoderProcess] = deque()
        self._turn = asyncio.Semaphore(limits.workers)
        self._workers: set[DecoderProcess] = set()
        self._dying: list[DecoderProcess] = []
        self._closed = False
        self.replaced = 0  #: workers lost to pictures since the start

    async def __aenter__(self) -> Self:
        sealing.conceal()  # workers run as our user; see decision 0026
        for _ in range(self._limits.workers):
            self._free.append(self._start())
        try:
            await asyncio.gather(*(each.ready() for each in self._free))
        except NotStarted as error:
            await self._close()
            raise ConfigurationError(
                f"DECODE_MEMORY_BYTES={self._limits.memory_bytes}: "
                f"a decoder process does not start: {error}"
            ) from error
        except BaseException:
            await self._close()
            raise
        if unsealed := self._free[0].unsealed:
            log.warning("decoder_unsealed", missing=unsealed)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers of this moment."""
        return tuple(each.pid for each in self._workers)

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        """Return the pixels of a picture, or the error that it has.

        An `ImageUnreadable` carries one of the reasons of `pixels` and `sniff`, or
        `too_many_bytes`, `decoder_memory`, `decoder_timeout`, `decoder_crashed`.

        Raises:
            TransientError: no worker can be started.
        """
        form = self._pixels
        size = form.height * form.width * 3
        answer = await self._ask({"do": "decode", **asdict(form)}, data, size)
        if isinstance(answer, PermanentError):
            return answer
        try:
            return _decoded(*answer, form)
        except (KeyError, TypeError, ValueError) as error:
            return ImageUnreadable(f"decoder answered {error!r}", reason="decoder_crashed")

    async def outgoing_copy(self, data: bytes) -> OutgoingCopy | PermanentError:
        """Return an upright copy without EXIF, XMP and comments; see `outgoing.strip_metadata`.

        Raises:
            TransientError: no worker can be started.
        """
        return _copy(await self._ask({"do": "strip"}, data, worker_protocol.MAX_COPY_BYTES))

    async def thumbnail(self, data: bytes, side: int) -> OutgoingCopy | PermanentError:
        """Return a small upright JPEG whose longer side is at most `side` pixels.

        Raises:
            TransientError: no worker can be started.
        """
        return _copy(
            await self._ask({"do": "thumbnail", "side": side}, data, worker_protocol.MAX_COPY_BYTES)
        )

    async def _ask(
        self, head: worker_protocol.Head, data: bytes, max_body: int
    ) -> tuple[worker_protocol.Head, bytearray] | PermanentError:
        if len(data) > self._limits.max_image_bytes:
            return ImageUnreadable(
                f"{len(data)} bytes, limit {self._limits.max_image_bytes}", reason="too_many_bytes"
            )
        async with self._turn:
            try:
                head, body = await self._twice(head, data, max_body)
            except TimeoutError:
                text = f"not decoded within {self._limits.timeout_s} s"
                return ImageUnreadable(text, reason="decoder_timeout")
            except Died as error:
                text = f"decoder ended by {ending(error.status)}"
                return ImageUnreadable(text, reason="decoder_crashed")
        return _refusal(head) if "error" in head else (head, body)

    async def _twice(
        self, head: worker_protocol.Head, data: bytes, max_body: int
    ) -> tuple[worker_protocol.Head, bytearray]:
        """Decode; if the worker dies, decode once more in a new one.

        An earlier picture may have corrupted its heap, or the kernel may have needed memory, so the
        present picture need not be the cause. If it is, the second worker dies too.
        """
        try:
            return await self._attempt(head, data, max_body)
        except Died:
            return await self._attempt(head, data, max_body)

    async def _attempt(
        self, head: worker_protocol.Head, data: bytes, max_body: int
    ) -> tuple[worker_protocol.Head, bytearray]:
        """Decode in one worker; replace it unless it is known to wait for the next picture."""
        one = self._take()
        reusable = False
        try:
            await one.ready()
            answer = await one.exchange(head, data, max_body)
            reusable = answer[0].get("reason") != "decoder_memory"
        except NotStarted as error:
            raise TransientError(f"a decoder process does not start: {error}") from error
        else:
            return answer
        finally:
            self._free.append(one if reusable else self._replace(one))

    def _take(self) -> DecoderProcess:
        """Return the worker that was used last: after a crash this is the fresh one."""
        if self._closed:
            raise TransientError("the decode pool is closed")
        one = self._free.pop()
        return one if one.alive else self._replace(one)  # killed while idle

    def _replace(self, lost: DecoderProcess) -> DecoderProcess:
        """Start a new worker in its place; its start overlaps with other work."""
        lost.kill()
        self._dying = [each for each in (*self._dying, lost) if not each.gone()]
        self._workers.discard(lost)
        if self._closed:
            return lost
        self.replaced += 1
        return self._start()

    def _start(self) -> DecoderProcess:
        one = DecoderProcess(self._limits, self._operations)
        self._workers.add(one)
        return one

    async def _close(self) -> None:
        self._closed = True
        leaving = [*self._workers, *self._dying]
        for each in leaving:
            each.kill()
        await asyncio.gather(*(each.end() for each in leaving))
        self._workers.clear()
        self._dying.clear()


def _decoded(
    head: worker_protocol.Head, body: bytearray, form: worker_protocol.PixelFormat
) -> Decoded:
    # A worker that was taken over may say anything; what is kept must be a time and printable.
    taken, source = _taken(head["exif_datetime"], head["exif_source"])
    return Decoded(
        pixels=np.frombuffer(body, np.uint8).reshape(form.height, form.width, 3),
        media_type=str(head["media_type"]),
        width=int(head["width"]),
        height=int(head["height"]),
        sha256=bytes.fromhex(head["sha256"]),
        exif_datetime=taken,
        exif_source=source,
        camera=camera_name("", head["camera"]),
        perceptual_hash=perceptual_hash(bytes.fromhex(head["grey"])),
        truncated=bool(head["truncated"]),
    )


def _refusal(head: worker_protocol.Head) -> ImageUnreadable:
    """Return the error in an answer, as text that a database takes and a reason that is a code."""
    text = str(head["error"]).encode("utf-8", "replace").decode().replace("\0", "")
    reason = str(head.get("reason"))
    return ImageUnreadable(text, reason=reason if _REASON.fullmatch(reason) else "decoder_crashed")


def _taken(moment: object, source: object) -> tuple[datetime | None, str | None]:
    if moment is None:
        return None, None
    taken = datetime.fromisoformat(str(moment))
    if source not in worker_protocol.EXIF_SOURCES or not moments.plausible(taken):
        raise ValueError(f"time of the shot {moment!r} by {source!r}")
    return taken, str(source)


def _copy(
    answer: tuple[worker_protocol.Head, bytearray] | PermanentError,
) -> OutgoingCopy | PermanentError:
    if isinstance(answer, PermanentError):
        return answer
    return OutgoingCopy(str(answer[0].get("media_type")), bytes(answer[1]))
