"""A pool of processes that turn untrusted bytes into pixels. Errors are values.

Torch-free, so that delivery can hold one too. Why processes, and why these, stands in
docs/decisions/0007-decode-in-worker-processes.md.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray

from core.errors import ConfigurationError, ImageUnreadable, PermanentError
from core.settings import DecodeSettings
from core.tags import Postponed, Slowness
from core.vision.decoding import sealing, sniff, worker, worker_protocol
from core.vision.decoding.limits import machine_memory, share
from core.vision.decoding.limits.deadline import TimeLimit
from core.vision.decoding.metadata.names import camera_name
from core.vision.decoding.perceptual import perceptual_hash
from core.vision.decoding.pool.answers import refusal, time_of_shot
from core.vision.decoding.pool.workers import Answer, Request, SingleUse, StartProcess, Workers
from core.vision.decoding.worker_process import DecoderProcess, Died, NotStarted, PoolLimits, ending

log = structlog.get_logger(__name__)

_MAX_WORKERS = 8


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


def pool_limits(
    settings: DecodeSettings, max_image_bytes: int, memory_bytes: int | None = None
) -> PoolLimits:
    """Return the pool's limits from the settings.

    Where they name no number of workers there is one per core, at most 8, and no more than fit into
    the memory; where they name no memory either, and not even one fits, a large picture has less.

    Args:
        settings: of decoding.
        max_image_bytes: larger files are refused unread.
        memory_bytes: what this process may use; None: what the machine and its groups allow.

    Raises:
        ConfigurationError: the limits together exceed the memory.
    """
    available = machine_memory.available_bytes() if memory_bytes is None else memory_bytes
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = PoolLimits(
        workers=settings.workers or min(cores or 1, _MAX_WORKERS),
        timeout_s=settings.timeout_s,
        memory_bytes=settings.memory_bytes,
        max_image_bytes=max_image_bytes,
        picture=sniff.Limits(settings.max_pixels),
    )
    if not settings.workers:
        workers = machine_memory.fitting_workers(limits, available)
        limits = replace(limits, workers=max(1, workers))
        if not workers and "memory_bytes" not in settings.model_fields_set:
            fitting = machine_memory.fitting_memory(limits, available)
            limits = replace(limits, memory_bytes=fitting)
    machine_memory.check_fit(limits, available)
    return limits


class DecodePool:
    """Decodes pictures in worker processes; a picture that kills its worker fails alone.

    Use as an async context manager: workers are warm when the block is entered and gone when it
    is left. Enter it on the thread that lives longest: Linux's parent-death signal looks at it.

    A picture that needs more memory than a worker has is decoded alone, while the workers go on.

    Args:
        limits: processes, time, memory, sizes.
        pixels: the form in which `decode` gives pixels.
        operations: for tests: a module-level function that gives the worker's table of
            operations, e.g. one that crashes on certain bytes; the worker imports it by its name.
        start: for tests: starts a process.
    """

    def __init__(
        self,
        limits: PoolLimits,
        pixels: worker_protocol.PixelFormat | None = None,
        *,
        operations: Callable[[worker.Job], Mapping[str, worker.Operation]] | None = None,
        start: StartProcess = DecoderProcess,
    ) -> None:
        chosen = operations or worker.picture_operations
        name = f"{chosen.__module__}:{chosen.__qualname__}"
        self._limits = limits
        self._patient = share.patience(limits.timeout_s)
        self._pixels = pixels or worker_protocol.PixelFormat()
        ordinary = replace(limits, memory_bytes=limits.ordinary_bytes)
        self._workers = Workers(ordinary, name, start)
        self._apart = SingleUse(ordinary, name, start, at_once=limits.apart)
        self._alone = SingleUse(limits, name, start, at_once=1)

    async def __aenter__(self) -> Self:
        sealing.conceal()  # workers run as our user; see decision 0026
        try:
            await self._workers.open()
        except NotStarted as error:
            await self._close()
            raise ConfigurationError(
                f"DECODE_MEMORY_BYTES={self._limits.memory_bytes}: "
                f"a decoder process does not start: {error}"
            ) from error
        except BaseException:
            await self._close()
            raise
        if unsealed := self._workers.unsealed:
            log.warning("decoder_unsealed", missing=unsealed)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers of this moment."""
        return self._workers.pids

    @property
    def replaced(self) -> int:
        """Return how many workers were lost to pictures since the start."""
        return self._workers.replaced

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        """Return the pixels of a picture, or the error that it has.

        An `ImageUnreadable` carries one of the reasons of `pixels` and `sniff`, or
        `too_many_bytes`, `decoder_memory`, `decoder_timeout`, `decoder_crashed`.

        Raises:
            TransientError: no worker can be started.
        """
        return self._pixels_in(await self._ask(self._decoding(data)))

    async def decode_soon(self, data: bytes) -> Decoded | PermanentError | Postponed:
        """Return as `decode` does, unless the picture exceeds its share; then others go on.

        Raises:
            TransientError: no worker can be started.
        """
        header = share.probe(data, self._limits.picture)
        if header is not None and (why := share.exceeds(header, data)) is not None:
            return why
        limit = share.time_share(header.width * header.height if header else 0)
        answer = await self._answer(self._workers, self._decoding(data), limit)
        if isinstance(answer, ImageUnreadable):
            if answer.reason == "decoder_timeout":
                return Postponed(Slowness.PICTURE)
            if self._may_have_more(answer):
                return Postponed(Slowness.MEMORY)
        return self._pixels_in(answer)

    async def decode_apart(self, data: bytes) -> Decoded | PermanentError:
        """Return as `decode` does, with the whole time limit and in no ordinary worker.

        Raises:
            TransientError: no process can be started.
        """
        return self._pixels_in(await self._ask_in(self._apart, self._decoding(data), self._patient))

    async def outgoing_copy(self, data: bytes) -> OutgoingCopy | PermanentError:
        """Return an upright copy without EXIF, XMP and comments; see `outgoing.strip_metadata`.

        Raises:
            TransientError: no worker can be started.
        """
        return _copy(
            await self._ask(Request({"do": "strip"}, data, worker_protocol.MAX_COPY_BYTES))
        )

    async def thumbnail(self, data: bytes, side: int) -> OutgoingCopy | PermanentError:
        """Return a small upright JPEG whose longer side is at most `side` pixels.

        Raises:
            TransientError: no worker can be started.
        """
        head = {"do": "thumbnail", "side": side}
        return _copy(await self._ask(Request(head, data, worker_protocol.MAX_COPY_BYTES)))

    def _decoding(self, data: bytes) -> Request:
        form = self._pixels
        size = form.height * form.width * 3
        return Request({"do": "decode", **asdict(form)}, data, size)

    async def _ask(self, request: Request) -> Answer | PermanentError:
        limit = TimeLimit(self._limits.timeout_s, self._limits.timeout_s)
        return await self._ask_in(self._workers, request, limit)

    async def _ask_in(
        self, place: Workers | SingleUse, request: Request, limit: TimeLimit
    ) -> Answer | PermanentError:
        """Ask in a process with ordinary memory, or alone where that is too little."""
        header = share.probe(request.data, self._limits.picture)
        if header is None or not share.is_large(header, request.data):
            answer = await self._answer(place, request, limit)
            if not self._may_have_more(answer):
                return answer
        return await self._answer(self._alone, request, limit)

    def _may_have_more(self, answer: Answer | PermanentError) -> bool:
        """Return whether a picture that ran out of memory is to be tried with more."""
        has_larger = self._limits.memory_bytes > self._limits.ordinary_bytes
        ran_out = isinstance(answer, PermanentError) and answer.reason == "decoder_memory"
        return ran_out and has_larger

    async def _answer(
        self, place: Workers | SingleUse, request: Request, limit: TimeLimit
    ) -> Answer | PermanentError:
        size, most = len(request.data), self._limits.max_image_bytes
        if size > most:
            return ImageUnreadable(f"{size} bytes, limit {most}", reason="too_many_bytes")
        try:
            head, body = await place.ask(request, limit)
        except TimeoutError:
            text = f"not decoded within {limit.cpu_s:g} s"
            return ImageUnreadable(text, reason="decoder_timeout")
        except Died as error:
            text = f"decoder ended by {ending(error.status)}"
            return ImageUnreadable(text, reason="decoder_crashed")
        return refusal(head) if "error" in head else (head, body)

    def _pixels_in(self, answer: Answer | PermanentError) -> Decoded | PermanentError:
        if isinstance(answer, PermanentError):
            return answer
        try:
            return _decoded(*answer, self._pixels)
        except (KeyError, TypeError, ValueError) as error:
            return ImageUnreadable(f"decoder answered {error!r}", reason="decoder_crashed")

    async def _close(self) -> None:
        await asyncio.gather(*(each.close() for each in (self._workers, self._apart, self._alone)))


def _decoded(
    head: worker_protocol.Head, body: bytearray, form: worker_protocol.PixelFormat
) -> Decoded:
    # A worker that was taken over may say anything; what is kept must be a time and printable.
    taken, source = time_of_shot(head["exif_datetime"], head["exif_source"])
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


def _copy(answer: Answer | PermanentError) -> OutgoingCopy | PermanentError:
    if isinstance(answer, PermanentError):
        return answer
    return OutgoingCopy(str(answer[0].get("media_type")), bytes(answer[1]))
