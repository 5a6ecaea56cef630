"""`images`, `watch`, `retag`: photos put on their topic."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import DryRun, Json, Limit, command_group, ending, print_json, run, stop
from producers.__main__ import RootOption, watch

if TYPE_CHECKING:
    from core.storage.archive.selection import Choice

app = command_group("Photos.")
app.command(
    epilog=ending(
        "photo-archive watch ~/Pictures",
        one="a watcher or a server failed for good",
        zero="stopped as asked",
    )
)(watch)


@app.command(
    epilog=ending(
        "photo-archive images ~/Pictures",
        "photo-archive images ~/Pictures --no-wait --labels cat,dog --top-k 1",
        one="a photo was not published or not tagged, or Kafka is away",
        zero="all published, and tagged unless --no-wait",
    )
)
def images(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    directory: Annotated[Path, typer.Argument(help="A directory under an allowed root.")],
    labels: Annotated[str | None, typer.Option(help="Own labels, separated by commas.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many tags to keep.")] = None,
    extensions: Annotated[str | None, typer.Option(help="Only these, e.g. jpg,png.")] = None,
    root: RootOption = None,
    wait: Annotated[bool, typer.Option(help="Follow the images until they are tagged.")] = True,
    undelete: Annotated[
        bool, typer.Option("--undelete", help="Bring photos back that were deleted over HTTP.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Announce every photo of a directory. May be run again at any time."""
    from photo_archive.directory import ImagesOptions, announce_directory

    options = ImagesOptions(labels, top_k, tuple(root or ()), extensions, wait, as_json, undelete)
    run(announce_directory(directory, options))


@app.command(
    epilog=ending(
        "photo-archive retag --failed",
        "photo-archive retag --except-model ViT-B-32 --dry-run",
        one="an image was not announced, or a server is away",
    )
)
def retag(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    everything: Annotated[bool, typer.Option("--all", help="All images.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed last.")] = False,
    model: Annotated[str | None, typer.Option(help="Those tagged by this model.")] = None,
    except_model: Annotated[str | None, typer.Option(help="Those not tagged by it.")] = None,
    own_labels: Annotated[
        bool, typer.Option("--own-labels", help="Also those with own labels, which they lose.")
    ] = False,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Announce known images again."""
    from core.storage.archive.selection import Choice

    if not (everything or failed or model or except_model):
        stop("choose --all, --failed, --model NAME or --except-model NAME", 2)
    choice = Choice(failed, model, except_model, own_labels)
    run(_count(choice, as_json=as_json) if dry_run else _retag(choice, limit, as_json=as_json))


async def _count(choice: "Choice", *, as_json: bool) -> int:
    from core.storage.archive import selection
    from producers.main import open_database

    async with open_database() as pool:
        number = await selection.count(pool, choice)
    print_json({"images": number}) if as_json else typer.echo(f"{number} images")
    return 0


async def _retag(choice: "Choice", limit: int | None, *, as_json: bool) -> int:
    from uuid import uuid4

    from rich.console import Console

    from photo_archive.display import RunDisplay, show_summary
    from producers.folders.announcing import Announcer
    from producers.main import open_database, open_publisher
    from producers.publishing import Patience
    from producers.retag import Retag

    console = Console(stderr=True)
    async with open_publisher("producers-retag") as publisher, open_database() as pool:
        announcer = Announcer(publisher, "/producers/retag", Patience())
        with RunDisplay(console, follows=False) as display:
            tally = await Retag(pool, announcer).run(choice, limit, uuid4(), display.show_published)
    show_summary(console, tally, None, as_json=as_json)
    return int(bool(tally.refused))
