"""python -m producers: puts photos, queries and dead letters on their topics.

Exit codes: 0 all done, 1 something was not, 2 an option or a setting cannot be worked with.
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from core.errors import ConfigurationError, PhotoTaggerError, innermost
from core.settings import TelemetrySettings, load
from core.telemetry.logs import configure

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Put photos, queries and dead letters on their topics.",
)
RootOption = Annotated[
    list[str] | None,
    typer.Option("--root", metavar="NAME=DIR", help="An allowed root beside ARCHIVE_ROOTS."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most so many.")]


@app.command()
def images(
    directory: Annotated[Path, typer.Argument(help="A directory under an allowed root.")],
    labels: Annotated[str | None, typer.Option(help="Own labels, separated by commas.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many tags to keep.")] = None,
    extensions: Annotated[str | None, typer.Option(help="Only these, e.g. jpg,png.")] = None,
    root: RootOption = None,
    wait: Annotated[bool, typer.Option(help="Follow the images until they are tagged.")] = True,  # noqa: FBT002
) -> None:
    """Announce every photo of a directory. May be run again at any time."""
    from producers.commands.directory import ImagesOptions, announce_directory

    options = ImagesOptions(labels, top_k, tuple(root or ()), extensions, wait)
    _run(announce_directory(directory, options))


@app.command()
def queries(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Text or JSON lines.")],
    callback_url: Annotated[str | None, typer.Option(help="Where the answers go.")] = None,
    run: Annotated[
        str | None, typer.Option(help="A name: the same file under it again asks nothing twice.")
    ] = None,
) -> None:
    """Submit queries: one per line, a sentence or {"text", "callback_url", "options"}."""
    from producers.commands.simple import submit_queries

    _run(submit_queries(file, callback_url, run))


@app.command()
def jobs(
    root: RootOption = None,
    until_empty: Annotated[bool, typer.Option(help="End when no job waits.")] = False,  # noqa: FBT002
) -> None:
    """Run the directory jobs that POST /tag/directory makes, until a signal comes."""
    from producers.commands.simple import run_jobs

    _run(run_jobs(tuple(root or ()), until_empty=until_empty))


@app.command()
def replay(
    topic: Annotated[str, typer.Argument(help="A topic, or one of its dead-letter topics.")],
    group: Annotated[str | None, typer.Option(help="Only what this group set aside.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only what was set aside for this.")] = None,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,  # noqa: FBT002
) -> None:
    """Put dead letters back on their topic, unchanged."""
    from producers.commands.simple import replay_letters
    from producers.replay import ChoiceRefused, choose

    try:
        wanted = choose(topic, group=group, reason=reason)
    except ChoiceRefused as error:
        _stop(f"{'TOPIC' if error.name == 'topic' else f'--{error.name}'}: {error}", 2)
    _run(replay_letters(wanted, limit, dry_run=dry_run))


@app.command()
def retag(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    everything: Annotated[bool, typer.Option("--all", help="All images.")] = False,  # noqa: FBT002
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed last.")] = False,  # noqa: FBT002
    model: Annotated[str | None, typer.Option(help="Those tagged by this model.")] = None,
    except_model: Annotated[str | None, typer.Option(help="Those not tagged by it.")] = None,
    own_labels: Annotated[  # noqa: FBT002
        bool, typer.Option("--own-labels", help="Also those with own labels, which they lose.")
    ] = False,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,  # noqa: FBT002
) -> None:
    """Announce known images again."""
    from core.storage.archive.selection import Choice
    from producers.commands.simple import retag_images

    if not (everything or failed or model or except_model):
        _stop("choose --all, --failed, --model NAME or --except-model NAME", 2)
    choice = Choice(
        only_failed=failed,
        model=model,
        except_model=except_model,
        with_own_labels=own_labels,
    )
    _run(retag_images(choice, limit, dry_run=dry_run))


@app.command()
def watch(
    directories: Annotated[list[Path], typer.Argument(help="Directories under allowed roots.")],
    root: RootOption = None,
    settle: Annotated[float, typer.Option(min=0.05, help="Seconds a file must rest.")] = 2.0,
    rescan: Annotated[float, typer.Option(min=1, help="Seconds between full scans.")] = 600.0,
    poll: Annotated[
        float, typer.Option(min=1, help="Seconds between scans where no events come.")
    ] = 15.0,
) -> None:
    """Announce photos as they come into directories, until a signal comes."""
    from producers.commands.watch import WatchOptions, watch_directories

    _run(watch_directories(directories, WatchOptions(tuple(root or ()), settle, rescan, poll)))


def _run(work: Coroutine[object, object, int]) -> None:
    try:
        configure(load(TelemetrySettings), process="producers")
        code = asyncio.run(_alone(work))
    except ConfigurationError as error:
        work.close()
        _stop(f"configuration: {error}", 2)
    except (PhotoTaggerError, OSError, UnicodeDecodeError) as error:
        _stop(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        _stop("interrupted; may be run again", 130)
    raise typer.Exit(code)


async def _alone(work: Coroutine[object, object, int]) -> int:
    """Run it; what a task of a group raised is raised alone, for one line at the terminal."""
    try:
        return await work
    except BaseExceptionGroup as group:
        raise innermost(group) from group


def _stop(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m producers")


if __name__ == "__main__":
    main()
