"""The standby of a pair, kept up as a process of its own, whichever of the two servers it is."""

import time
from typing import Protocol

from core.errors import PhotoTaggerError
from standalone.failures import ServerFailed
from standalone.postgres.node import PostgresNode

PRIMARY_WAIT_S = 60.0
_POLL_S = 0.1


class FollowedPair(Protocol):
    """The pair, as far as its standby has to know it: `standalone.postgres.pair`."""

    @property
    def primary(self) -> PostgresNode:
        """The server that leads now."""
        ...

    @property
    def standby(self) -> PostgresNode:
        """The server that follows, or will."""
        ...

    def say(self, message: str, /) -> None:
        """Say something to the person at the terminal."""
        ...

    def ask_news(self) -> None:
        """Look at once: something has happened to the standby."""
        ...


class StandbyProcess:
    """The pair's standby as a process that is kept up, whichever of the two servers it is."""

    def __init__(self, pair: FollowedPair) -> None:
        self._pair = pair
        self._node: PostgresNode | None = None
        self._stop_asked = False

    @property
    def pid(self) -> int:
        """The process id, also of what makes its data; 0 when it never ran."""
        return self._pair.standby.pid

    def start(self) -> None:
        """Make the standby's data where it has none, and start it; return when it follows.

        Raises:
            ConfigurationError, ServerFailed: as `EmbeddedServer.start`.
        """
        self._stop_asked = False
        self._begin()

    def _begin(self) -> None:
        deadline = time.monotonic() + PRIMARY_WAIT_S
        while not self._pair.primary.is_ready:
            if self._stop_asked or time.monotonic() > deadline:
                raise ServerFailed("the standby has no primary to follow")
            time.sleep(_POLL_S)
        node = self._node = self._pair.standby
        node.follow(self._pair.primary)
        node.start()
        self._pair.ask_news()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until it ends; return its exit code, or None when time ran out.

        When it leads the other server becomes the standby: that is no end.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._node is not None and (deadline is None or time.monotonic() < deadline):
            if self._node is self._pair.primary:
                try:
                    self._begin()
                except PhotoTaggerError as error:
                    return self._failed(error)
            elif (code := self._node.wait(_POLL_S)) is not None:
                self._pair.ask_news()
                return code
        return None

    def _failed(self, error: PhotoTaggerError) -> int:
        self._pair.say(f"standby: {error}")
        return 1

    def stop(self) -> None:
        """Stop it, unless it leads by now."""
        self._stop_asked = True
        if self._node is not None and self._node is self._pair.standby:
            self._node.stop()

    def kill(self) -> None:
        """Kill it."""
        if self._node is not None and self._node is self._pair.standby:
            self._node.kill()

    def tail(self) -> str:
        """Return the last lines of its output."""
        return self._node.tail() if self._node else ""

    def obstacle(self) -> str:
        """Return, after its end, why another start cannot help; empty where it may help."""
        return self._node.obstacle() if self._node else ""
