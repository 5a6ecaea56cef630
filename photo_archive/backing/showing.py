"""What a person sees while a backup is written or restored: bars at a terminal, else nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

_LOOK_S = 0.5


class StepDisplay:
    """A bar for each step, by bytes."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @asynccontextmanager
    async def step(
        self, name: str, *, grows: Path | None = None
    ) -> AsyncIterator[Callable[[int], None]]:
        """Show a step; yield what tells how many bytes are done.

        Args:
            name: what is done.
            grows: a file whose size tells it instead.
        """
        task = self._progress.add_task(name, total=None)

        def show(done: int) -> None:
            self._progress.update(task, completed=done)

        async with asyncio.TaskGroup() as group:
            looking = group.create_task(_watch(grows, show)) if grows else None
            try:
                yield show
            finally:
                if looking is not None:
                    looking.cancel()
        done = self._progress.tasks[task].completed
        self._progress.update(task, total=max(done, 1), completed=max(done, 1))


async def _watch(file: Path, show: Callable[[int], None]) -> None:
    while True:
        show(_size(file))
        await asyncio.sleep(_LOOK_S)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
