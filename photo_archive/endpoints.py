"""`endpoints`: registered callback addresses."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from photo_archive.keys import Owner
from photo_archive.running import Json, command_group, ending, print_json, run

app = command_group("Registered callback addresses.")


@app.command("list", epilog=ending("photo-archive endpoints list --owner me"))
def list_endpoints(owner: Owner = None, as_json: Json = False) -> None:
    """Show the addresses, without their secrets."""
    run(_list(owner, as_json=as_json))


@app.command(
    epilog=ending(
        "photo-archive endpoints remove 0190f8a2-6f1e-7c3a-9b60-2d1f6f0f3a11",
        one="there is no such address, or PostgreSQL is away",
    )
)
def remove(
    endpoint_id: Annotated[UUID, typer.Argument(help="As `endpoints list` shows it.")],
    as_json: Json = False,
) -> None:
    """Forget an address and its secrets; its webhooks that wait are given up."""
    run(_remove(endpoint_id, as_json=as_json))


async def _list(owner: str | None, *, as_json: bool) -> int:
    from ingress import commands

    found = await commands.list_endpoints(owner)
    if as_json:
        print_json(found)
        return 0
    for one in found:
        name = f" ({one.name})" if one.name else ""
        typer.echo(f"{one.endpoint_id}  {one.owner}{name}  {one.url}")
    return 0


async def _remove(endpoint_id: UUID, *, as_json: bool) -> int:
    from ingress import commands

    removed = await commands.remove_endpoint(endpoint_id)
    if as_json:
        print_json({**asdict(removed.endpoint), "given_up": removed.given_up})
    else:
        typer.echo(f"removed {removed.endpoint.url}; webhooks given up: {removed.given_up}")
    return 0
