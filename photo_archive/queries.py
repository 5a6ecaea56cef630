"""`queries`: the queries of a file, put on their topic."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from producers.questions import Submitted

app = command_group("Queries.")


@app.command(
    epilog=ending(
        "photo-archive queries questions.txt --callback-url https://example.org/hook",
        one="a query was not submitted, or Kafka is away",
    )
)
def queries(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Text or JSON lines.")],
    callback_url: Annotated[str | None, typer.Option(help="Where the answers go.")] = None,
    run_name: Annotated[
        str | None,
        typer.Option("--run", help="A name: the same file under it again asks nothing twice."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit queries: one per line, a sentence or {"text", "callback_url", "options"}.

    Prints the line and the id of each query that was submitted; with --json an object per line,
    also for those that were not.
    """
    run(_submit(file, callback_url, run_name, as_json=as_json))


async def _submit(
    file: Path, callback_url: str | None, run_name: str | None, *, as_json: bool
) -> int:
    from producers.main import open_publisher
    from producers.publishing import Patience
    from producers.questions import BATCH_QUERIES, read_lines, submit_all

    submitted, refused = 0, 0
    with file.open(encoding="utf-8") as lines:
        read = read_lines(lines, callback_url=callback_url, run=run_name)
        async with open_publisher("producers-queries") as publisher:
            while batch := list(islice(read, BATCH_QUERIES)):
                for outcome in await submit_all(publisher, batch, Patience()):
                    _show(outcome, as_json=as_json)
                    submitted += outcome.problem is None
                    refused += outcome.problem is not None
    typer.echo(f"{submitted} submitted, {refused} not submitted", err=True)
    return int(bool(refused))


def _show(outcome: "Submitted", *, as_json: bool) -> None:
    line, problem = outcome.line, outcome.problem
    if as_json:
        shown = {"line": line.number, "query_id": None if problem else line.query_id}
        print_json(shown | {"problem": None if problem is None else str(problem)})
    elif problem is None:
        typer.echo(f"{line.number}\t{line.query_id}")
    else:
        typer.echo(f"line {line.number}: {problem}", err=True)
