"""`hosts`: callback hosts, disabled and resumed."""

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.storage.delivery.hosts import HostState

OPERATOR = "operator"
NOTHING = "there was nothing to change, or PostgreSQL is away"

app = command_group("Callback hosts whose webhooks are held back.")


def read_host(text: str) -> str:
    """Return a host in the spelling that deliveries have."""
    from core.egress.targets import lane_name
    from core.errors import TargetForbidden

    try:
        return lane_name(text)
    except TargetForbidden as error:
        raise typer.BadParameter(str(error)) from error


def read_host_or_target(text: str) -> str:
    """Return a host, or one of its targets as the list shows it: `https://hooks.example.org:443`."""
    from core.egress.targets import target_name
    from core.errors import TargetForbidden

    if "://" not in text:
        return read_host(text)
    try:
        return target_name(text)
    except TargetForbidden as error:
        raise typer.BadParameter(str(error)) from error


Host = Annotated[
    str,
    typer.Argument(
        parser=read_host_or_target,
        metavar="HOST",
        help="A host, for all of its schemes and ports, or one of them: https://host:443.",
    ),
]
Reason = Annotated[str, typer.Option(help="Stands in `hosts list` and in the log of changes.")]


@app.command("list", epilog=ending("photo-archive hosts list"))
def list_hosts(as_json: Json = False) -> None:
    """Show the hosts that were ever disabled."""
    run(_list(as_json=as_json))


@app.command(
    epilog=ending(
        "photo-archive hosts disable hooks.example.org --reason 'moves tonight'", one=NOTHING
    )
)
def disable(host: Host, reason: Reason = "", as_json: Json = False) -> None:
    """Hold back a host's webhooks until it is resumed."""
    run(_change("disable", host, reason, as_json=as_json))


@app.command(epilog=ending("photo-archive hosts resume hooks.example.org", one=NOTHING))
def resume(host: Host, reason: Reason = "", as_json: Json = False) -> None:
    """Send a host's webhooks again."""
    run(_change("resume", host, reason, as_json=as_json))


async def _list(*, as_json: bool) -> int:
    from core.settings import DatabaseSettings, load
    from core.storage.delivery import hosts
    from core.storage.pool import open_pool

    async with open_pool(load(DatabaseSettings)) as pool:
        found = await hosts.list_hosts(pool)
    if as_json:
        print_json(found)
    else:
        for host in found:
            typer.echo(_line(host))
    return 0


def _line(host: "HostState") -> str:
    state = "disabled" if host.disabled_at else "enabled"
    changed = host.changed_at.isoformat(timespec="seconds")
    reason = f": {json.dumps(host.reason, ensure_ascii=False)}" if host.reason else ""
    return f"{host.host}  {state}  by {host.actor} {changed}{reason}  waiting: {host.waiting}"


async def _change(
    change: Literal["disable", "resume"], host: str, reason: str, *, as_json: bool
) -> int:
    from core.settings import DatabaseSettings, load
    from core.storage.delivery import hosts
    from core.storage.pool import open_pool

    do = hosts.disable if change == "disable" else hosts.resume
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        changed = await do(tx, host, actor=OPERATOR, reason=reason)
    if as_json:
        print_json({"host": host, "changed": changed})
    else:
        typer.echo(f"{host}: {change}d" if changed else f"{host}: nothing to change")
    return 0 if changed else 1
