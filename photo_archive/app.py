"""The command: all groups of subcommands put together."""

from photo_archive import (
    deliveries,
    endpoints,
    keys,
    labels,
    letters,
    maintenance,
    page,
    photos,
    queries,
    servers,
    status,
    targets,
    weights,
)
from photo_archive.backing import commands as backups
from photo_archive.backing import forgetting
from photo_archive.running import command_group

app = command_group(
    "Run a photo archive and work with it.\n\n"
    "Commands find their servers by settings in the environment: `. var/env.sh` sets those of an"
    " archive that runs on this machine."
)
for commands in (servers, page, status, photos, queries, maintenance, forgetting, backups):
    app.add_typer(commands.app)
for name, group in {
    "keys": keys,
    "endpoints": endpoints,
    "labels": labels,
    "letters": letters,
    "deliveries": deliveries,
    "targets": targets,
    "weights": weights,
}.items():
    app.add_typer(group.app, name=name)


def main() -> None:
    """Run the command line."""
    app(prog_name="photo-archive")
