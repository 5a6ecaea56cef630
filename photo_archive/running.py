"""How a subcommand runs and ends, what it prints, and how its help closes."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict, is_dataclass
from datetime import datetime
from importlib.util import find_spec
from logging import CRITICAL, getLogger
from typing import Annotated, NoReturn

import typer

WRONG = 2  # the exit code for an option or a setting that cannot be worked with
INTERRUPTED = 130  # as a shell reports SIGINT

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.")]


def command_group(summary: str) -> typer.Typer:
    """Return a group of subcommands that shows its help when called without one."""
    # Plain help: the same text in a terminal, a log and a test, and no import of rich.
    return typer.Typer(
        help=summary,
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


def ending(*examples: str, one: str = "PostgreSQL is away", zero: str = "done") -> str:
    """Return the end of a command's help: examples, and what each exit code says.

    Args:
        examples: whole command lines.
        one: when the exit code is 1.
        zero: when it is 0.
    """
    codes = f"0  {zero}", f"1  {one}", f"{WRONG}  an option or a setting cannot be worked with"
    title = "Example:" if len(examples) == 1 else "Examples:"
    # After a line of \b alone a paragraph keeps its line breaks.
    return "\n".join(
        ("\b", title, *(f"  {line}" for line in examples), "",
         "\b", "Exit codes:", *(f"  {line}" for line in codes))
    )  # fmt: skip


def run(work: Coroutine[object, object, int], *, asks_servers: bool = True) -> NoReturn:
    """Do a command's work and end with its exit code; an error becomes one line.

    Args:
        work: gives the exit code.
        asks_servers: whether it is of no use while the servers are down; it is then not begun
            where they are those of this machine's home and that archive does not run.
    """
    from core.errors import ConfigurationError, PhotoTaggerError
    from core.settings import TelemetrySettings, load
    from core.telemetry.logs import CLIENTS, configure

    try:
        if asks_servers and (away := _why_away()):
            work.close()
            stop(away, 1)
        settings = load(TelemetrySettings)
        if "log_level" not in settings.model_fields_set:
            # Results are printed: between them a person wants to see what goes wrong, no more.
            settings = settings.model_copy(update={"log_level": "warning"})
        configure(settings, process="photo-archive")
        if settings.log_level == "warning":
            # A client's words about its tries are for a log: the result says what is away.
            for name in CLIENTS:
                getLogger(name).setLevel(CRITICAL)
        code = asyncio.run(_without_group(work))
    except ConfigurationError as error:
        work.close()
        stop(f"configuration: {error}", WRONG)
    except (PhotoTaggerError, OSError, UnicodeDecodeError) as error:
        stop(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        stop("interrupted; the command may be run again", INTERRUPTED)
    raise typer.Exit(code)


def _why_away() -> str:
    """Return why the servers cannot be reached, where that is known without asking them."""
    if find_spec("standalone") is None:
        return ""
    from standalone import presence

    return presence.why_away()


def stop(message: str, code: int) -> NoReturn:
    """End with a message on standard error."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def print_json(value: object) -> None:
    """Print one JSON document; dataclasses become objects, ids text, times ISO 8601."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


async def _without_group(work: Coroutine[object, object, int]) -> int:
    """Raise the first error of a task group alone, for one line at the terminal."""
    from core.errors import innermost

    try:
        return await work
    except BaseExceptionGroup as group:
        raise innermost(group) from group


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
