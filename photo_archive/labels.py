"""`labels`: the default labels."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from schemas.labels import LabelSetText

app = command_group("The labels that photos are tagged with.")


@app.command(
    "list",
    epilog=ending("photo-archive labels list", "photo-archive labels list --json > labels.json"),
)
def list_labels(as_json: Json = False) -> None:
    """Show the labels in force; with --json as `labels set` takes them."""
    run(_list(as_json=as_json))


@app.command("set", epilog=ending("photo-archive labels set labels.json"))
def set_labels(
    file: Annotated[Path, typer.Argument(help="JSON, as PUT /labels takes it.")],
    as_json: Json = False,
) -> None:
    """Make the labels in a file the default ones; the archive is scored again by them."""
    run(_set(file, as_json=as_json))


async def _list(*, as_json: bool) -> int:
    from core.storage import labels
    from producers.main import open_database

    async with open_database() as pool:
        found = await labels.current(pool)
    if as_json:
        shown = [{k: v for k, v in asdict(label).items() if k != "id"} for label in found.labels]
        print_json({"version": found.version, "labels": shown})
    else:
        for label in found.labels:
            typer.echo(", ".join((label.name, *label.aliases)))
    return 0


async def _set(file: Path, *, as_json: bool) -> int:
    version = await take_over(file)
    print_json({"version": version}) if as_json else typer.echo(f"labels: version {version}")
    return 0


async def take_over(path: Path) -> int:
    """Make the labels of a file the default ones; return their version.

    The tagging process brings the archive up to them.

    Raises:
        ConfigurationError: the file cannot be read or breaks a rule, or its labels replace
            another version than the one in force.
        DatabaseAway: PostgreSQL cannot be reached.
    """
    from core.errors import ConfigurationError
    from core.storage import labels
    from core.tags import Label
    from producers.main import open_database

    given = _read(path)
    new = [Label(**label.model_dump()) for label in given.labels]
    async with open_database() as pool, pool.transaction() as tx:
        version = await labels.redefine(tx, new, expected=given.version)
    if version is None:
        raise ConfigurationError(f"{path}: version {given.version} is not in force any more")
    return version


def _read(path: Path) -> "LabelSetText":
    from pydantic import ValidationError

    from core.errors import ConfigurationError
    from schemas.labels import LabelSetText

    try:
        return LabelSetText.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {place}: {first['msg']}") from error
