"""python -m producers jobs | watch DIR…: the processes of the write side, until SIGTERM.

Exit codes: 0 stopped as asked; 1 a server or a directory was away for good; 2 an option or a
setting cannot be worked with. The commands of people are in `photo_archive`.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated

import typer

from core.starting import end_at_once_when_told, released

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run a process of the write side until SIGTERM.",
)
RootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="NAME=DIR",
        help="A root beside ARCHIVE_ROOTS; the consumers must know it already.",
    ),
]
HeldOption = Annotated[bool, typer.Option("--held", help="Wait before servers are used.")]


@app.command()
def jobs(
    root: RootOption = None,
    until_empty: Annotated[bool, typer.Option(help="End when no job waits.")] = False,
    held: HeldOption = False,
) -> None:
    """Run the directory jobs that POST /tag/directory makes, until a signal comes."""
    from producers.main import run_jobs

    _run(lambda: run_jobs(root or (), until_empty=until_empty), is_held=held)


@app.command()
def watch(
    directories: Annotated[list[Path], typer.Argument(help="Directories under allowed roots.")],
    root: RootOption = None,
    settle: Annotated[float, typer.Option(min=0.05, help="Seconds a file must rest.")] = 2.0,
    rescan: Annotated[float, typer.Option(min=1, help="Seconds between full scans.")] = 600.0,
    poll: Annotated[
        float, typer.Option(min=1, help="Seconds between scans where no events come.")
    ] = 15.0,
    held: HeldOption = False,
) -> None:
    """Announce photos as they come into directories, until a signal comes."""
    from producers.watching import WatchOptions, watch_directories

    options = WatchOptions(tuple(root or ()), settle, rescan, poll)
    _run(lambda: watch_directories(directories, options), is_held=held)


def _run(work: Callable[[], Coroutine[object, object, int]], *, is_held: bool) -> None:
    from core.errors import ConfigurationError, PhotoTaggerError
    from core.settings import TelemetrySettings, load
    from core.telemetry.logs import configure

    try:
        configure(load(TelemetrySettings), process="producers")
        code = asyncio.run(_alone(work, is_held=is_held))
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except (PhotoTaggerError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    raise typer.Exit(code)


async def _alone(work: Callable[[], Coroutine[object, object, int]], *, is_held: bool) -> int:
    """Raise the first error of a task group alone, for one line at the terminal."""
    from core.errors import innermost

    await released(is_held=is_held)
    try:
        return await work()
    except BaseExceptionGroup as group:
        raise innermost(group) from group


if __name__ == "__main__":
    end_at_once_when_told()
    app(prog_name="python -m producers")
