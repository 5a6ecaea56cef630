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
    from core.transaction import Transaction
    from schemas.labels import LabelSetText

app = command_group("The labels that photos are tagged with.")


@app.command(
    "list",
    epilog=ending("photo-archive labels list", "photo-archive labels list --json > labels.json"),
)
def list_labels(as_json: Json = False) -> None:
    """Show the labels in force; with --json as `labels set` takes them."""
    run(_list(as_json=as_json))


@app.command(
    "add",
    epilog=ending(
        "photo-archive labels add pizza пицца",
        "photo-archive labels add 'our dacha' --photo photos/d1.jpg --photo photos/d2.jpg"
        " --photo photos/d3.jpg --photos-alone",
    ),
)
def add_label(
    name: Annotated[str, typer.Argument(help="The new label.")],
    aliases: Annotated[
        list[str] | None, typer.Argument(help="Further words for it in questions, in any language.")
    ] = None,
    photo: Annotated[
        list[str] | None,
        typer.Option(
            help="A photo in the archive that shows it, by id or by path; 3 to 10 teach a label."
        ),
    ] = None,
    photos_alone: Annotated[
        bool,
        typer.Option(
            "--photos-alone", help="The name says nothing to the model: only the photos count."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Add one label to the default ones; the archive is scored again with it."""
    added = {"name": name, "aliases": list(aliases or ()), "by_words": not photos_alone}
    run(_add(added, tuple(photo or ()), as_json=as_json))


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


async def _add(added: dict[str, object], photos: Sequence[str], *, as_json: bool) -> int:
    from core.storage import labels
    from producers.main import open_database

    added["photos"] = [_id_of(photo) for photo in photos]
    async with open_database() as pool, pool.transaction() as tx:
        await labels.lock_version(tx)
        before = await labels.current(tx)
        text = json.dumps({"labels": [*_shown(before), added]}, default=str)
        given = _values(_checked(f"{added['name']!r}", text))
        await _require_fit(tx, given, before, photos)
        version = await labels.define(tx, given)
    _say(version, as_json=as_json)
    return 0


def _id_of(photo: str) -> str:
    """Return the id of a photo: as it is given, or that of the file at a path."""
    from uuid import UUID

    from schemas.image import image_id_of

    try:
        return str(UUID(photo))
    except ValueError:
        return str(image_id_of(f"file:{photo}"))


async def _require_fit(
    tx: "Transaction", given: "Sequence[Label]", before: "LabelSet", photos: Sequence[str] = ()
) -> None:
    """Raise unless the photos of these labels can teach them.

    Args:
        tx: holds the version of the labels.
        given: the labels that are to be in force.
        before: those that are.
        photos: those of the last label, as somebody wrote them.
    """
    from core.errors import ConfigurationError
    from core.storage.scoring import lessons

    found = await lessons.unfit(tx, given, before.labels, owner=None)
    if found is None:
        return
    is_written = found.photo is not None and found.label == len(given) - 1 and photos
    written = f"{photos[found.photo or 0]}: " if is_written else ""
    raise ConfigurationError(written + found.why)


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
    new = _values(given)
    async with open_database() as pool, pool.transaction() as tx:
        await labels.lock_version(tx)
        await _require_fit(tx, new, await labels.current(tx))
        version = await labels.redefine(tx, new, expected=given.version)
    if version is None:
        raise ConfigurationError(f"{path}: version {given.version} is not in force any more")
    return version


def _shown(found: "LabelSet") -> list[dict[str, object]]:
    labels = ({k: v for k, v in asdict(label).items() if k != "id"} for label in found.labels)
    return [{**label, "photos": [str(photo) for photo in label["photos"]]} for label in labels]


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
