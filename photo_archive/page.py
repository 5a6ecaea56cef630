"""`link`: a way into the page without typing a key."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from ingress.commands import OneTimeLink

app = command_group("The page.")


@app.command(
    epilog=ending(
        "photo-archive link",
        "photo-archive link 3f2a9c1b",
        one="there is no such usable key, or PostgreSQL is away",
    )
)
def link(
    key_id: Annotated[
        str | None,
        typer.Argument(
            help="Whose rights it gives, as `keys list` shows it;"
            " without: the newest that may do everything, else the newest."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a link that signs in to the page, once and within ten minutes."""
    run(_link(key_id, as_json=as_json))


async def _link(key_id: str | None, *, as_json: bool) -> int:
    from ingress import commands

    made = await commands.make_link(key_id)
    if made is None:
        which = "no usable key" if key_id is None else f"no usable key {key_id}"
        typer.echo(f"{which}: `photo-archive keys create --owner me` makes one", err=True)
        return 1
    if as_json:
        print_json(made)
    else:
        typer.echo(made.url)
        rights = f"{made.owner}, {','.join(made.scopes)} (key {made.key_id})"
        typer.echo(f"signs in once as {rights}, until {made.expires_at:%H:%M:%S} UTC", err=True)
        if lacking := _lacking(made):
            typer.echo(lacking, err=True)
    return 0


def _lacking(made: "OneTimeLink") -> str:
    """Return what the link may not do, and how to get one that may; empty where it may do all."""
    from ingress.auth.api_keys import Scope

    if Scope.ADMIN in made.scopes:
        return ""
    missing = [scope.value for scope in Scope if scope not in made.scopes]
    return (
        f"it may not do everything: it lacks {', '.join(missing)}. A key that lacks nothing:"
        f" photo-archive keys create --owner {shlex.quote(made.owner)} --scopes admin"
    )
