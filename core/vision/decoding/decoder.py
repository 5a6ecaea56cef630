"""A pool of processes that turn untrusted bytes into pixels. Errors are values.

Torch-free, so that delivery can hold one too. Why processes, and why these, stands in
docs/decisions/0007-decode-in-worker-processes.md.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Self

import structlog

from core.errors import ConfigurationError, ImageUnreadable, PermanentError
from core.settings import DecodeSettings
from core.tags import Postponed, Slowness, ThumbSize
from core.vision.decoding import sealing, sniff, worker, worker_protocol
from core.vision.decoding.limits import machine_memory, share
from core.vision.decoding.limits.deadline import TimeLimit
from core.vision.decoding.pool.answers import (
    Decoded,
    OutgoingCopy,
    copy_in,
    decoded,
    has_page,
    refusal,
)
from core.vision.decoding.pool.workers import Answer, Request, SingleUse, StartProcess, Workers
from core.vision.decoding.worker_process import DecoderProcess, Died, NotStarted, PoolLimits, ending

log = structlog.get_logger(__name__)

_MAX_WORKERS = 8
_THUMB_WORKERS = 2


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


def thumb_limits(settings: DecodeSettings, max_image_bytes: int) -> PoolLimits:
    """Return the limits of a pool that makes thumbnails for requests: two ordinary workers.

    One where the memory is too little for two. What needs a larger one gets its small thumbnail
    when it is tagged.
    """
    limits = PoolLimits(
        workers=_THUMB_WORKERS,
        timeout_s=settings.timeout_s,
        memory_bytes=share.ORDINARY_BYTES + share.MAPPED_BYTES,
        max_image_bytes=max_image_bytes,
        picture=sniff.Limits(settings.max_pixels),
    )
    fitting = machine_memory.fitting_workers(limits, machine_memory.available_bytes())
    return replace(limits, workers=max(1, fitting))


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
        return await self._pixels_in(await self._ask(self._decoding(data)))

    async def decode_soon(self, data: bytes) -> Decoded | PermanentError | Postponed:
        """Return as `decode` does, unless the picture exceeds its share; then others go on.

        Raises:
            TransientError: no worker can be started.
        """
        answer = await self._soon(self._decoding(data))
        return answer if isinstance(answer, Postponed) else await self._pixels_in(answer)

    async def _soon(self, request: Request) -> Answer | PermanentError | Postponed:
        header = share.probe(request.data, self._limits.picture)
        if header is not None and (why := share.exceeds(header, request.data)) is not None:
            return why
        limit = share.time_share(header.width * header.height if header else 0)
        answer = await self._answer(self._workers, request, limit)
        if isinstance(answer, ImageUnreadable):
            if answer.reason == "decoder_timeout":
                return Postponed(Slowness.PICTURE)
            if self._may_have_more(answer):
                return Postponed(Slowness.MEMORY)
        return answer

    async def decode_apart(self, data: bytes) -> Decoded | PermanentError:
        """Return as `decode` does, with the whole time limit and in no ordinary worker.

        Raises:
            TransientError: no process can be started.
        """
        answer = await self._ask_in(self._apart, self._decoding(data), self._patient)
        return await self._pixels_in(answer)

    async def outgoing_copy(self, data: bytes) -> OutgoingCopy | PermanentError:
        """Return an upright copy without EXIF, XMP and comments; see `outgoing.strip_metadata`.

        Raises:
            TransientError: no worker can be started.
        """
        return copy_in(
            await self._ask(Request({"do": "strip"}, data, worker_protocol.MAX_COPY_BYTES))
        )

    async def thumb_soon(
        self, data: bytes, size: ThumbSize
    ) -> OutgoingCopy | PermanentError | Postponed:
        """Return a thumbnail, unless the picture exceeds its share: others wait for theirs.

        Raises:
            TransientError: no worker can be started.
        """
        head = {"do": "thumb", "size": size.value}
        answer = await self._soon(Request(head, data, worker_protocol.MAX_THUMB_BYTES))
        return answer if isinstance(answer, Postponed) else copy_in(answer)

    def _decoding(self, data: bytes) -> Request:
        form = self._pixels
        most = form.height * form.width * 3 + worker_protocol.MAX_THUMB_BYTES
        most += worker_protocol.PAGE_SHORT_SIDE * worker_protocol.PAGE_LONG_SIDE
        return Request({"do": "decode", **asdict(form)}, data, most)

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

    async def _pixels_in(self, answer: Answer | PermanentError) -> Decoded | PermanentError:
        if isinstance(answer, PermanentError):
            return answer
        try:
            if not has_page(answer[0]):
                return decoded(*answer, self._pixels)
            # The lines of a page take some milliseconds: not on the event loop.
            return await asyncio.to_thread(decoded, *answer, self._pixels)
        except (KeyError, TypeError, ValueError) as error:
            return ImageUnreadable(f"decoder answered {error!r}", reason="decoder_crashed")

    async def _close(self) -> None:
        await asyncio.gather(*(each.close() for each in (self._workers, self._apart, self._alone)))
