"""`labels`: the default labels."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.storage.labels import LabelSet
    from core.tags import Label
    from schemas.labels import LabelSetText

app = command_group("The labels that photos are tagged with.")


@app.command(
    "list",
    epilog=ending("photo-archive labels list", "photo-archive labels list --json > labels.json"),
)
def list_labels(as_json: Json = False) -> None:
    """Show the labels in force; with --json as `labels set` takes them."""
    run(_list(as_json=as_json))


@app.command("add", epilog=ending("photo-archive labels add pizza пицца"))
def add_label(
    name: Annotated[str, typer.Argument(help="The new label.")],
    aliases: Annotated[
        list[str] | None, typer.Argument(help="Further words for it in questions, in any language.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add one label to the default ones; the archive is scored again with it."""
    run(_add(name, tuple(aliases or ()), as_json=as_json))


@app.command(
    "set",
    epilog=ending(
        "photo-archive labels list --json > labels.json", "photo-archive labels set labels.json"
    ),
)
def set_labels(
    file: Annotated[Path, typer.Argument(help="JSON, as `labels list --json` prints it.")],
    as_json: Json = False,
) -> None:
    """Make the labels in a file the default ones, in place of all others.

    The archive is scored again by them. `labels add` adds one and keeps the others.
    """
    run(_set(file, as_json=as_json))


async def _list(*, as_json: bool) -> int:
    from core.storage import labels
    from producers.main import open_database

    async with open_database() as pool:
        found = await labels.current(pool)
    if as_json:
        print_json({"version": found.version, "labels": _shown(found)})
    else:
        for label in found.labels:
            typer.echo(", ".join((label.name, *label.aliases)))
    return 0


async def _add(name: str, aliases: Sequence[str], *, as_json: bool) -> int:
    from core.storage import labels
    from producers.main import open_database

    async with open_database() as pool, pool.transaction() as tx:
        await labels.lock_version(tx)
        before = _shown(await labels.current(tx))
        added = {"name": name, "aliases": list(aliases)}
        given = _checked(f"{name!r}", json.dumps({"labels": [*before, added]}))
        version = await labels.define(tx, _values(given))
    _say(version, as_json=as_json)
    return 0


async def _set(file: Path, *, as_json: bool) -> int:
    _say(await take_over(file), as_json=as_json)
    return 0


def _say(version: int, *, as_json: bool) -> None:
    print_json({"version": version}) if as_json else typer.echo(f"labels: version {version}")


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
    from producers.main import open_database

    given = _read(path)
    async with open_database() as pool, pool.transaction() as tx:
        version = await labels.redefine(tx, _values(given), expected=given.version)
    if version is None:
        raise ConfigurationError(f"{path}: version {given.version} is not in force any more")
    return version


def _shown(found: "LabelSet") -> list[dict[str, object]]:
    return [{k: v for k, v in asdict(label).items() if k != "id"} for label in found.labels]


def _values(given: "LabelSetText") -> "list[Label]":
    from core.tags import Label

    return [Label(**label.model_dump()) for label in given.labels]


def _read(path: Path) -> "LabelSetText":
    from core.errors import ConfigurationError

    try:
        return _checked(str(path), path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _checked(source: str, text: str | bytes) -> "LabelSetText":
    """Return the labels that a JSON document holds; errors name its source."""
    from pydantic import ValidationError

    from core.errors import ConfigurationError
    from schemas.labels import LabelSetText

    try:
        return LabelSetText.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{source}: {place}: {first['msg']}") from error
