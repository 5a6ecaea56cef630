"""A client that listens to events, without a network between."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.integration.ingress.world import World

PATIENCE_S = 30.0


@dataclass
class Told:
    """One event."""

    topic: str
    data: dict[str, Any]
    number: int | None


@dataclass
class Listening:
    """What a client was sent so far.

    Attributes:
        reads: cleared while the client takes nothing from the line.
        has_ended: set when the response is complete.
    """

    events: list[Told] = field(default_factory=list)
    comments: int = 0
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _text: str = ""

    def of(self, topic: str) -> list[dict[str, Any]]:
        """What was told of a topic."""
        return [event.data for event in self.events if event.topic == topic]

    async def until(self, topic: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many events of a topic have come; return them."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := self.of(topic)) < count:
                self._news.clear()
                await self._news.wait()
        return found

    async def until_told(self, topic: str, wanted: Any) -> dict[str, Any]:
        """Wait for an event of a topic for which `wanted` returns true."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for data in self.of(topic):
                    if wanted(data):
                        return data
                self._news.clear()
                await self._news.wait()

    async def receive(self) -> dict[str, Any]:
        """What the application hears of the client: nothing, until it goes."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Take what the application sends; a client that does not read makes it wait."""
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
            return
        self._text += message.get("body", b"").decode()
        *whole, self._text = self._text.split("\n\n")
        for part in whole:
            self._take(part)
        if not message.get("more_body", False):
            self.has_ended.set()
        self._news.set()

    def _take(self, part: str) -> None:
        lines = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        self.comments += part.startswith(":")
        if "data" in lines:
            number = int(lines["id"]) if "id" in lines else None
            self.events.append(Told(lines["event"], json.loads(lines["data"]), number))


@asynccontextmanager
async def listening(world: World, path: str, key: str, **headers: str) -> AsyncIterator[Listening]:
    """Listen to a path with a key, while the block runs."""
    client = Listening()
    client.reads.set()
    raw, _, query = path.partition("?")
    sent = {"x-api-key": key, "accept": "text/event-stream"} | headers
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    scope = {
        "type": "http", "method": "GET", "path": raw, "raw_path": raw.encode(),
        "query_string": query.encode(), "client": ("10.0.0.1", 1), "server": ("archive", 80),
        "headers": lines, "scheme": "http", "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    serving = asyncio.create_task(world.app(scope, client.receive, client.send))
    try:
        yield client
    finally:
        client.gone.set()
        client.reads.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(serving, return_exceptions=True)
