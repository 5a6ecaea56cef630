"""Work that is done once for all who ask for it, a few pieces at a time, in turn."""

import asyncio
import contextvars
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from core.errors import TransientError

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


@dataclass(eq=False, slots=True)
class _Piece(Generic[T]):
    key: Hashable
    holder: str
    work: Work[T]
    outcome: asyncio.Future[T]
    context: contextvars.Context  # of who asked first: whose turn at the database it is
    asking: int = 0


@dataclass(slots=True)
class InTurn(Generic[T]):
    """Does pieces of work. A piece that waits for its turn goes when nobody asks for it any more.

    Attributes:
        at_once: pieces under way at a time.
    """

    at_once: int
    _pieces: dict[Hashable, _Piece[T]] = field(default_factory=dict)
    _waiting: OrderedDict[str, deque[_Piece[T]]] = field(default_factory=OrderedDict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _is_closed: bool = False

    @property
    def waiting(self) -> int:
        """Return how many pieces wait for their turn."""
        return sum(map(len, self._waiting.values()))

    async def of(self, key: Hashable, holder: str, work: Work[T]) -> T:
        """Return what the work comes to, or a call for the same that is waiting or under way.

        Args:
            key: what is the same.
            holder: who asks: one after the other gets a turn, however much one of them asks for.
            work: is done if nobody else asks for the same.

        Raises:
            TransientError: the process stops. And whatever the work raises.
        """
        if self._is_closed:
            raise TransientError("the process stops")
        piece = self._pieces.get(key)
        if piece is None:
            future = asyncio.get_running_loop().create_future()
            context = contextvars.copy_context()
            piece = self._pieces[key] = _Piece(key, holder, work, future, context)
            self._waiting.setdefault(holder, deque()).append(piece)
            self._begin()
        piece.asking += 1
        try:
            return await asyncio.shield(piece.outcome)
        finally:
            piece.asking -= 1
            if not piece.asking:
                self._forget(piece)

    async def close(self) -> None:
        """End what is under way; whoever waits is told."""
        self._is_closed = True
        running = set(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for piece in list(self._pieces.values()):
            self._end(piece, TransientError("the process stops"))
        self._waiting.clear()

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self.at_once and not self._is_closed:
            holder, pieces = self._waiting.popitem(last=False)
            piece = pieces.popleft()
            if pieces:
                self._waiting[holder] = pieces  # behind the others
            task = asyncio.create_task(self._do(piece), context=piece.context)
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            task.add_done_callback(lambda _: self._begin())

    async def _do(self, piece: _Piece[T]) -> None:
        try:
            result = await piece.work()
        except asyncio.CancelledError:
            self._end(piece, TransientError("the process stops"))
            raise
        except Exception as error:  # noqa: BLE001 - raised again by all who ask for it
            self._end(piece, error)
        else:
            self._pieces.pop(piece.key, None)
            piece.outcome.set_result(result)

    def _end(self, piece: _Piece[T], error: Exception) -> None:
        self._pieces.pop(piece.key, None)
        if not piece.outcome.done():
            piece.outcome.set_exception(error)
            piece.outcome.exception()  # if nobody asks any more, nobody misses it

    def _forget(self, piece: _Piece[T]) -> None:
        """Take a piece out of the line, if it is still in it: nobody asks for it any more."""
        pieces = self._waiting.get(piece.holder, deque())
        if piece in pieces:
            pieces.remove(piece)
            self._pieces.pop(piece.key, None)
            if not pieces:
                del self._waiting[piece.holder]
