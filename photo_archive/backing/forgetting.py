"""`forgotten`: what promotions of PostgreSQL have lost, by id where anything testifies it."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.storage.stream.promotions import Promotion

app = command_group("What the database has forgotten.")


@app.command(
    epilog=ending("photo-archive forgotten", zero="it was shown; also where there is none")
)
def forgotten(as_json: Json = False) -> None:
    """Show what was lost when a standby that lacked commits was promoted, and what came back."""
    run(_forgotten(as_json=as_json), asks_servers=False)


async def _forgotten(*, as_json: bool) -> int:
    from core.settings import DatabaseSettings, load
    from core.storage.pool import open_pool
    from core.storage.stream import promotions

    async with open_pool(load(DatabaseSettings)) as pool, pool.connection() as connection:
        found = await promotions.forgetful(connection)
    if as_json:
        print_json([asdict(one) for one in found])
        return 0
    for promotion in found:
        for line in _lines(promotion):
            typer.echo(line)
    if not found:
        typer.echo("nothing was forgotten")
    return 0


def _lines(promotion: "Promotion") -> list[str]:
    since, until = (
        moment.isoformat(timespec="milliseconds")
        for moment in (promotion.missing_since, promotion.noted_at)
    )
    first = f"commits between {since} and {until} may be missing"
    if promotion.settled_at is None:
        return [f"{first}; Kafka's log is being asked"]
    return [
        f"{first}; {promotion.answers_kept} answers were in Kafka's log",
        *(f"  {one.kind} {one.id}: {one.detail}" for one in promotion.forgotten),
    ]
