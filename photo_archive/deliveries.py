"""`deliveries`: webhooks sent again."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from photo_archive.running import DryRun, Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.storage.delivery.redelivery import RedeliveryChoice

MAX_LIMIT = 10_000  # as `core.storage.delivery.redelivery` has it

app = command_group("Webhooks.")


class State(StrEnum):
    """States of a webhook that is not under way."""

    WAITING = "waiting"
    WILL_RETRY = "will_retry"
    GIVEN_UP = "given_up"
    STOPPED = "stopped"
    DELIVERED = "delivered"


def read_host(text: str) -> str:
    """Return a host in the spelling that deliveries have."""
    from core.egress.urls import host_name
    from core.errors import TargetForbidden

    try:
        return host_name(text)
    except TargetForbidden as error:
        raise typer.BadParameter(str(error)) from error


def read_moment(text: str) -> datetime:
    """Return a moment that was written in ISO 8601 with its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text}: give the zone, such as 2026-05-01T00:00:00Z")
    return moment


_Moment = typer.Option(parser=read_moment, metavar="TIME", help="Ended then or later, ISO 8601.")


@app.callback()
def deliveries() -> None:
    """Send webhooks again."""


@app.command(
    epilog=ending(
        "photo-archive deliveries redeliver --host hooks.example.org --dry-run",
        "photo-archive deliveries redeliver --state given_up --since 2026-05-01T00:00:00Z",
        one="there was nothing to send again, or PostgreSQL is away",
    )
)
def redeliver(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    query: Annotated[UUID | None, typer.Option(help="Of this query, in any state.")] = None,
    host: Annotated[str | None, typer.Option(parser=read_host, metavar="HOST")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    state: Annotated[list[State] | None, typer.Option(help="Without: given_up.")] = None,
    since: Annotated[datetime | None, _Moment] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="TIME", help="Ended before.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="At most so many.")] = 1000,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send webhooks again: those given up go on under their id, delivered ones get a new one."""
    from core.storage.delivery.redelivery import RedeliveryChoice

    if not any((query, host, owner, state, since, until)):
        raise typer.BadParameter(
            "say which: give one at least of --query, --host, --owner, --state, --since, --until"
        )
    states = state or (list(State) if query else [State.GIVEN_UP])
    wanted = RedeliveryChoice(
        states=tuple(one.value for one in states),
        owner=owner,
        host=host,
        query_id=query,
        since=since,
        until=until,
    )
    run(_redeliver(wanted, limit, dry_run=dry_run, as_json=as_json))


async def _redeliver(
    wanted: "RedeliveryChoice", limit: int, *, dry_run: bool, as_json: bool
) -> int:
    from core.settings import DatabaseSettings, load
    from core.storage.delivery import redelivery
    from core.storage.pool import open_pool

    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        matched = await redelivery.count(tx, wanted)
        done = None if dry_run else await redelivery.redeliver(tx, wanted, limit=limit)
    if as_json:
        print_json({"matched": matched, "again": done and done.again, "anew": done and done.anew})
    else:
        counts = ", ".join(f"{n} {state}" for state, n in matched.items())
        typer.echo(f"match: {counts or 'none'}")
        if done:
            typer.echo(
                f"due now: {len(done.again)} under their ids, {len(done.anew)} as new webhooks"
            )
    return 1 if done and not done.count else 0
