"""`up`, `demo`, `servers`: an archive with its own Kafka and PostgreSQL on this machine."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from photo_archive.running import WRONG, command_group, ending, stop

FAILED = "a process or a server failed"
STOPPED = "stopped as asked, by Ctrl-C or SIGTERM"

app = command_group("An archive on this machine.")


Brokers = Annotated[
    int | None,
    typer.Option(
        help="Kafka's brokers, 3: any one may die. A home keeps the number that it was made with."
    ),
]


@app.command(
    epilog=ending(
        "photo-archive up",
        "photo-archive up --watch ~/Pictures",
        "photo-archive up --brokers 3",
        one=FAILED,
        zero=STOPPED,
    )
)
def up(
    watched: Annotated[
        Path | None, typer.Option("--watch", help="Announce new photos in this folder.")
    ] = None,
    brokers: Brokers = None,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby", help="Two PostgreSQL servers: one takes the other's place if it dies."
        ),
    ] = False,
) -> None:
    """Start Kafka, PostgreSQL and all roles on this machine, and stay."""
    _run(lambda main: main.run_up(watched, brokers, standby=standby))


@app.command(
    epilog=ending(
        "photo-archive demo",
        "photo-archive demo --photos ~/Pictures --once",
        one="a process failed, nothing was tagged or answered, or --once was stopped early",
        zero="it worked, or was stopped as asked",
    )
)
def demo(
    photos: Annotated[
        Path | None, typer.Option(help="A folder of your own; without: free photos.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when done.")] = False,
    model: Annotated[
        str, typer.Option(help="A model's name, `demo` for the bundled one; without: chosen.")
    ] = "",
    brokers: Brokers = None,
) -> None:
    """Start an archive, tag photos, ask two questions and show the answers."""
    _run(lambda main: main.run_the_demo(photos, once=once, model=model, brokers=brokers))


@app.command(epilog=ending("photo-archive servers", one=FAILED, zero=STOPPED))
def servers(brokers: Brokers = None) -> None:
    """Start Kafka and PostgreSQL alone; print the settings that lead to them."""
    _run(lambda main: main.run_servers(brokers))


def _run(work: Callable[[ModuleType], int]) -> NoReturn:
    """Do the work with `standalone.main` and end with its exit code; an error becomes one line."""
    from core.errors import ConfigurationError, PhotoTaggerError

    if find_spec("standalone") is None:
        stop("the embedded servers are not part of this image: see docker-compose.yml", WRONG)
    from standalone import main

    try:
        code = work(main)
    except KeyboardInterrupt:
        stop("stopped", 0)
    except ConfigurationError as error:
        stop(f"configuration: {error}", WRONG)
    except (PhotoTaggerError, OSError) as error:
        stop(f"{type(error).__name__}: {error}", 1)
    raise typer.Exit(code)
