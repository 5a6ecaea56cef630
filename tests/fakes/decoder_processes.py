"""A decoder process in virtual time, for the scheduling of `DecodePool`."""

import asyncio
import json
from dataclasses import dataclass, field

from core.vision.decoding import worker_protocol
from core.vision.decoding.limits.deadline import TimeLimit, within
from core.vision.decoding.worker_process import DecoderProcess, Died, NotStarted, PoolLimits
from core.vision.decoding.worker_protocol import GREY_SIDE


@dataclass
class FakeProcesses:
    """Starts processes that take as long, and as much memory, as the picture says.

    Attributes:
        running: pictures under way, by the memory limit of their processes.
        most: the most that were under way at once.
        started: how many processes were started.
        refused: how many starts the system refuses from now on.
    """

    running: dict[int, int] = field(default_factory=dict)
    most: dict[int, int] = field(default_factory=dict)
    started: int = 0
    refused: int = 0

    def start(self, limits: PoolLimits, _operations: str) -> DecoderProcess:
        if self.refused:
            self.refused -= 1
            raise NotStarted("no process to be had")
        self.started += 1
        return FakeProcess(self, limits)

    def begin(self, memory_bytes: int) -> None:
        self.running[memory_bytes] = self.running.get(memory_bytes, 0) + 1
        self.most[memory_bytes] = max(self.most.get(memory_bytes, 0), self.running[memory_bytes])


class FakeProcess(DecoderProcess):
    """A process that decodes `order(...)` in virtual time."""

    def __init__(self, all_: FakeProcesses, limits: PoolLimits) -> None:
        self._all = all_
        self._memory_bytes = limits.memory_bytes
        self._is_alive = True
        self._is_ready = False
        self.unsealed = {}

    @property
    def pid(self) -> int:
        return -1  # no process: its niceness cannot be set

    @property
    def alive(self) -> bool:
        return self._is_alive

    async def ready(self) -> None:
        if not self._is_ready:
            await asyncio.sleep(0.05)
        self._is_ready = True

    async def exchange(
        self, head: worker_protocol.Head, data: bytes, max_body: int, limit: TimeLimit
    ) -> tuple[worker_protocol.Head, bytearray]:
        order = json.loads(data)
        if order["bytes"] > self._memory_bytes:
            return {"error": "too much", "reason": "decoder_memory"}, bytearray()
        self._all.begin(self._memory_bytes)
        began = asyncio.get_running_loop().time()
        try:
            async with within(limit, lambda: asyncio.get_running_loop().time() - began):
                await asyncio.sleep(order["seconds"])
        finally:
            self._all.running[self._memory_bytes] -= 1
        if order.get("dies"):
            self._is_alive = False
            raise Died(-11)
        return _answer(), bytearray(max_body)

    def kill(self) -> None:
        self._is_alive = False

    def gone(self) -> bool:
        return True

    async def end(self) -> int:
        return 0


def order(number: int, seconds: float, needed_bytes: int = 0, *, dies: bool = False) -> bytes:
    """Return a picture that takes so long and so much memory, whatever its header says."""
    return json.dumps(
        {"number": number, "seconds": seconds, "bytes": needed_bytes, "dies": dies}
    ).encode()


def _answer() -> worker_protocol.Head:
    return {
        "media_type": "image/png",
        "width": 1,
        "height": 1,
        "sha256": "00" * 32,
        "exif_datetime": None,
        "exif_source": None,
        "truncated": False,
        "colour": "000000",
        "camera": "",
        "page": (0, 0),
        "grey": "00" * GREY_SIDE * GREY_SIDE,
    }
