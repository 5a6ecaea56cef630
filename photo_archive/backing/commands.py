"""`backup`, `restore`: the whole archive into a folder, and an archive from such a folder."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from photo_archive.backing.manifest import Manifest
    from photo_archive.backing.places import ArchivePlace
    from photo_archive.backing.restoring import Restored, RestoreWish

app = command_group("Backups.")
_PRIVATE = 0o077


@app.command(
    epilog=ending(
        "photo-archive backup /mnt/backups/2026-11-30",
        one="PostgreSQL, Kafka or the place of the photos' bytes is away, or a program failed",
        zero="the backup is whole, and was read again",
    )
)
def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that is not there yet, or is empty.")
    ],
    without_log: Annotated[
        bool,
        typer.Option(
            "--without-log",
            help="Leave out the records that nobody has processed: for when Kafka is lost.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the whole archive into a folder, also while it runs: rows, photos' bytes, keys.

    Whoever can read the folder has the archive's secrets. Photos that lie in folders of yours
    (ARCHIVE_ROOTS) are not in it.
    """
    run(_backup(folder.expanduser(), with_log=not without_log, as_json=as_json), asks_servers=False)


@app.command(
    epilog=ending(
        "photo-archive restore /mnt/backups/2026-11-30",
        "photo-archive restore /mnt/backups/2026-11-30 --replace --hold-deliveries",
        "photo-archive restore /mnt/backups/2026-11-30 --new-kafka",
        one="PostgreSQL or Kafka is away, or a program failed; nothing was changed",
    )
)
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Written by `backup`.")],
    replaces: Annotated[
        bool,
        typer.Option(
            "--replace", help="Put it in the place of an archive, whose database is kept."
        ),
    ] = False,
    new_kafka: Annotated[
        bool,
        typer.Option(
            "--new-kafka",
            help="Kafka is another one, or has lost records: begin at the start of its log, and"
            " publish again what nobody had processed.",
        ),
    ] = False,
    holds: Annotated[
        bool,
        typer.Option("--hold-deliveries", help="Keep webhooks back that may have been sent since."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the backup and say whether it is whole.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an archive from a backup, where none runs. What the backup had not seen is done again.

    It goes on where the backup stood: records that Kafka got since are processed again, and have
    the same effects under the same ids.
    """
    from photo_archive.backing.restoring import RestoreWish

    if check:
        run(_check(folder.expanduser(), as_json=as_json), asks_servers=False)
    wish = RestoreWish(replaces=replaces, new_kafka=new_kafka, holds=holds)
    run(_restore(folder.expanduser(), wish, as_json=as_json), asks_servers=False)


def _say(message: str) -> None:
    typer.echo(message, err=True)


async def _backup(folder: Path, *, with_log: bool, as_json: bool) -> int:
    from rich.console import Console

    from photo_archive.backing import places
    from photo_archive.backing.showing import StepDisplay
    from photo_archive.backing.writing import Writing, emptied_unless_done, make_folder

    os.umask(_PRIVATE)
    make_folder(folder)
    with (
        emptied_unless_done(folder),
        places.running_or_not(_say) as place,
        StepDisplay(Console(stderr=True)) as show,
    ):
        manifest = await Writing(place, folder, show, with_log).write()
    if as_json:
        print_json(manifest.model_dump())
    else:
        typer.echo(f"{folder}: {_content(manifest)}")
        for line in _left_out(manifest, with_log=with_log):
            typer.echo(line)
    return 0


async def _check(folder: Path, *, as_json: bool) -> int:
    from photo_archive.backing import photos
    from photo_archive.backing.manifest import BYTES, check_files, read_manifest

    manifest = read_manifest(folder)
    check_files(folder, manifest)
    await photos.check_all(folder / BYTES, manifest.photos)
    if as_json:
        print_json(manifest.model_dump())
    else:
        typer.echo(f"{folder}: whole, of {manifest.made_at}: {_content(manifest)}")
    return 0


async def _restore(folder: Path, wish: "RestoreWish", *, as_json: bool) -> int:
    from rich.console import Console

    from photo_archive.backing import places
    from photo_archive.backing.manifest import check_files, read_manifest
    from photo_archive.backing.noting import Noting
    from photo_archive.backing.restoring import Restoring
    from photo_archive.backing.showing import StepDisplay

    manifest = read_manifest(folder)
    check_files(folder, manifest)
    noting = Noting(folder, _again(folder, wish))
    with (
        noting.forgotten_unless_begun(),
        places.not_running(_say, noting.begin) as place,
        StepDisplay(Console(stderr=True)) as show,
    ):
        os.umask(_PRIVATE)  # not before: as root, PostgreSQL's user must enter a new home
        done = await Restoring(place, folder, manifest, wish, noting, show).restore()
    if as_json:
        print_json({**_counts(done), "kept_database": done.kept, "held_since": done.held_since})
    else:
        for line in _told(done, folder, place):
            typer.echo(line)
    return 0


def _again(folder: Path, wish: "RestoreWish") -> str:
    """Return the command that restores this backup, as it may be typed anywhere."""
    options = {
        "--replace": wish.replaces,
        "--new-kafka": wish.new_kafka,
        "--hold-deliveries": wish.holds,
    }
    words = ["photo-archive", "restore", str(folder.absolute())]
    return shlex.join([*words, *(option for option, is_given in options.items() if is_given)])


def _content(manifest: "Manifest") -> str:
    rows, unread = manifest.rows, sum(manifest.records.values())
    parts = [
        f"{rows['images']} images, {rows['queries']} queries, {rows['deliveries']} webhooks",
        f"{unread} records that nobody had processed",
        "photos' bytes as rows" if manifest.photos is None else f"{manifest.photos} photos' bytes",
    ]
    size = sum(file.bytes for file in manifest.files.values()) + manifest.photos_bytes
    return f"{', '.join(parts)}; {size / 1e6:.1f} MB"


def _left_out(manifest: "Manifest", *, with_log: bool) -> list[str]:
    lines = ["it holds the archive's keys: keep it where nobody else can read it"]
    if manifest.roots:
        lines.append(f"not in it: the photos in {manifest.roots}")
    if not with_log:
        lines.append("not in it: what Kafka has and nobody has processed (--without-log)")
    if "secrets.key" not in manifest.files:
        lines.append("not in it: SECRETS_KEY, which is not set here; keep it yourself")
    return lines


def _counts(done: "Restored") -> dict[str, object]:
    return {
        "made_at": done.manifest.made_at,
        "images": done.manifest.rows["images"],
        "queries": done.manifest.rows["queries"],
        "new_kafka": done.is_log_new,
        "records_ahead": done.ahead,
        "published_again": done.republished,
        "repeated_webhooks": done.repeats,
    }


def _told(done: "Restored", folder: Path, place: "ArchivePlace") -> list[str]:
    lines = [f"restored {folder}, of {done.manifest.made_at}: {_content(done.manifest)}"]
    if done.is_log_new:
        lines.append(
            f"Kafka is a new one ({done.unlike[0]}): every group begins at its start, and"
            f" {done.republished} records of the backup are published again"
        )
        if not done.manifest.cluster_id:
            lines.append("the backup was written --without-log: what nobody had processed is lost")
        lines.append(
            "what came since is not known here: announce folders again (`photo-archive images DIR`)"
        )
    else:
        lines.append(f"Kafka has {done.ahead} records that the backup had not seen: done again")
    lines.append(_of_webhooks(done))
    lines.append("API keys that were revoked since are valid again; people sign in again")
    if done.kept:
        lines.append(f"the database that was there is kept as {done.kept}")
    if place.home is None and "secrets.key" in done.manifest.files:
        lines.append(f"set SECRETS_KEY to the content of {folder / 'secrets.key'} where roles run")
    return [*lines, *_missing_roots(done.manifest.roots)]


def _of_webhooks(done: "Restored") -> str:
    if done.held_since is not None:
        command = f"photo-archive deliveries redeliver --since {done.held_since.isoformat()}"
        return f"{done.repeats} webhooks are held back: `{command}` sends them"
    return (
        f"up to {done.repeats} webhooks may be sent a second time, under their ids"
        " (--hold-deliveries keeps them back)"
    )


def _missing_roots(text: str) -> list[str]:
    from core.addresses import parse_roots

    return [
        f"the folder {path} (root {name}) is not here: its photos are missing until it is"
        for name, path in parse_roots(text).items()
        if not path.is_dir()
    ]
