"""A TCP proxy before the broker or the database that breaks connections on demand.

Faults can be changed while connections are open. A broker tells its clients where it listens
(Metadata, FindCoordinator), and they would bypass the proxy. So the port in those answers, which is
the four bytes after the host's name in every version, is replaced by the proxy's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

CHUNK = 64 * 1024
HOST = b"127.0.0.1"


@dataclass(slots=True)
class Faults:
    """The faults of the network at present.

    Attributes:
        refuse: new connections are reset at once.
        black_hole: no data passes in either direction; no connection is closed.
        latency_s: delay of each chunk, in each direction.
        cut: called with each chunk and its direction ("up" to the server, "down" from it); it
            returns after how many bytes the connection ends, or None to let the chunk pass.
    """

    refuse: bool = False
    black_hole: bool = False
    latency_s: float = 0.0
    cut: Callable[[str, bytes], int | None] | None = None


@dataclass(slots=True)
class Proxy:
    """Listens on loopback and forwards to `port`: an async context manager.

    Attributes:
        cuts: number of connections that `Faults.cut` ended.
    """

    target_port: int
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    cuts: int = 0
    _server: asyncio.Server | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _healed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        """Remove all faults. Data that a black hole held back is sent on."""
        self.faults = Faults()

    def cut_all(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def half_close(self) -> None:
        """Close the server's direction of every connection; the other direction stays open."""
        for writer in list(self._writers):
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.faults.refuse:
            writer.transport.abort()
            return
        try:
            up, down = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer}
        for source, sink, direction in ((reader, down, "up"), (up, writer, "down")):
            task = asyncio.create_task(self._pass_on(source, sink, direction, (writer, down)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        direction: str,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        try:
            while True:
                chunk = await source.read(CHUNK)
                if not chunk:
                    break
                await self._hold_back()
                if direction == "down":
                    chunk = chunk.replace(self._told(self.target_port), self._told(self.port))
                length = self.faults.cut(direction, chunk) if self.faults.cut else None
                sink.write(chunk if length is None else chunk[:length])
                await sink.drain()
                if length is not None:
                    self.cuts += 1
                    break
        except OSError:
            pass
        finally:
            self._writers.discard(both[0])
            for writer in both:
                writer.close()

    @staticmethod
    def _told(port: int) -> bytes:
        return HOST + port.to_bytes(4, "big")

    async def _hold_back(self) -> None:
        if self.faults.latency_s:
            await asyncio.sleep(self.faults.latency_s)
        while self.faults.black_hole:
            await asyncio.sleep(0.02)


@dataclass(slots=True)
class CutAnswer:
    """Cuts the answers to some Kafka requests, so that acknowledgements are ambiguous.

    The request reaches the broker and is carried out; its answer ends in the middle.

    Attributes:
        api: key of the request: 0 Produce, 8 OffsetCommit.
        times: number of answers to cut.
        after: number of bytes of the answer that pass.
    """

    api: int
    times: int = 1
    after: int = 6
    _asked: dict[int, int] = field(default_factory=dict)  # correlation id -> how many

    def __call__(self, direction: str, chunk: bytes) -> int | None:
        """For `Faults.cut`."""
        if direction == "up":
            self._note(chunk)
            return None
        if self.times and len(chunk) >= 8:
            correlation = int.from_bytes(chunk[4:8], "big", signed=True)
            if self._asked.get(correlation, 0):
                self._asked[correlation] -= 1
                self.times -= 1
                return self.after
        return None

    def _note(self, chunk: bytes) -> None:
        """Note the request at the start of this chunk: length, API key, version, correlation id."""
        if len(chunk) >= 12 and int.from_bytes(chunk[4:6], "big") == self.api:
            correlation = int.from_bytes(chunk[8:12], "big", signed=True)
            self._asked[correlation] = self._asked.get(correlation, 0) + 1


@dataclass(slots=True)
class CutCommit:
    """Cuts PostgreSQL's answer to COMMIT: it is done, but the client does not know."""

    times: int = 1
    _asked: bool = False

    def __call__(self, direction: str, chunk: bytes) -> int | None:
        """For `Faults.cut`."""
        if direction == "up":
            self._asked = b"COMMIT;" in chunk
        elif self._asked and self.times and b"COMMIT" in chunk:
            self.times -= 1
            self._asked = False
            return 3
        return None
