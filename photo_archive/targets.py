"""`targets`: callback targets, disabled and resumed."""

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.storage.delivery.targets import TargetState

OPERATOR = "operator"
NOTHING = "there was nothing to change, or PostgreSQL is away"

app = command_group("Callback targets whose webhooks are held back.")


def read_target(text: str) -> str:
    """Return a target in the spelling that deliveries have: `https://hooks.example.org:443`."""
    from core.egress.urls import target_name
    from core.errors import TargetForbidden

    try:
        return target_name(text)
    except TargetForbidden as error:
        raise typer.BadParameter(str(error)) from error


Target = Annotated[
    str,
    typer.Argument(
        parser=read_target, metavar="TARGET", help="Scheme, host and port: https://host:443."
    ),
]
Reason = Annotated[str, typer.Option(help="Stands in `targets list` and in the log of changes.")]


@app.command("list", epilog=ending("photo-archive targets list"))
def list_targets(as_json: Json = False) -> None:
    """Show the targets that were ever disabled."""
    run(_list(as_json=as_json))


@app.command(
    epilog=ending(
        "photo-archive targets disable https://hooks.example.org --reason 'moves tonight'",
        one=NOTHING,
    )
)
def disable(target: Target, reason: Reason = "", as_json: Json = False) -> None:
    """Hold back a target's webhooks until it is resumed."""
    run(_change("disable", target, reason, as_json=as_json))


@app.command(epilog=ending("photo-archive targets resume https://hooks.example.org", one=NOTHING))
def resume(target: Target, reason: Reason = "", as_json: Json = False) -> None:
    """Send a target's webhooks again."""
    run(_change("resume", target, reason, as_json=as_json))


async def _list(*, as_json: bool) -> int:
    from core.settings import DatabaseSettings, load
    from core.storage.delivery import targets
    from core.storage.pool import open_pool

    async with open_pool(load(DatabaseSettings)) as pool:
        found = await targets.list_targets(pool)
    if as_json:
        print_json(found)
    else:
        for target in found:
            typer.echo(_line(target))
    return 0


def _line(target: "TargetState") -> str:
    state = "disabled" if target.disabled_at else "enabled"
    changed = target.changed_at.isoformat(timespec="seconds")
    reason = f": {json.dumps(target.reason, ensure_ascii=False)}" if target.reason else ""
    return (
        f"{target.target}  {state}  by {target.actor} {changed}{reason}  waiting: {target.waiting}"
    )


async def _change(
    change: Literal["disable", "resume"], target: str, reason: str, *, as_json: bool
) -> int:
    from core.settings import DatabaseSettings, load
    from core.storage.delivery import targets
    from core.storage.pool import open_pool

    do = targets.disable if change == "disable" else targets.resume
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        changed = await do(tx, target, actor=OPERATOR, reason=reason)
    if as_json:
        print_json({"target": target, "changed": changed})
    else:
        typer.echo(f"{target}: {change}d" if changed else f"{target}: nothing to change")
    return 0 if changed else 1
