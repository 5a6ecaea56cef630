"""`letters`: dead letters, shown and put back on their topic."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from photo_archive.running import DryRun, Json, Limit, command_group, ending, print_json, run, stop

if TYPE_CHECKING:
    from core.storage.pool import Pool
    from core.storage.stream.replays import LetterFilter

app = command_group("Dead letters: records that were set aside.")
Group = Annotated[str | None, typer.Option(help="Only what this consumer group set aside.")]
Reason = Annotated[str | None, typer.Option(help="Only what was set aside for this.")]


@app.command(
    "list",
    epilog=ending(
        "photo-archive letters list",
        "photo-archive letters list images.arrived.v1 --reason truncated --json",
    ),
)
def list_letters(
    topic: Annotated[str | None, typer.Argument(help="Only those of this topic.")] = None,
    group: Group = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest dead letters that were not replayed, without their values."""
    if topic is not None:
        wanted = _chosen(topic, group, None)
        topic, group = wanted.topic, wanted.group
    run(_list(topic, group, reason, limit, as_json=as_json))


@app.command(
    epilog=ending(
        "photo-archive letters replay images.arrived.v1 --reason truncated --dry-run",
        "photo-archive letters replay images.arrived.v1.tagging.dlq",
        one="Kafka did not take a letter, or a server is away",
    )
)
def replay(
    topic: Annotated[str, typer.Argument(help="A topic, or one of its dead-letter topics.")],
    group: Group = None,
    reason: Reason = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put dead letters back on their topic, unchanged.

    Arrivals of images go back in bulk: uploads that come meanwhile are tagged first.
    """
    wanted = _chosen(topic, group, reason)
    run(_count(wanted, as_json=as_json) if dry_run else _replay(wanted, limit, as_json=as_json))


def _chosen(topic: str, group: str | None, reason: str | None) -> "LetterFilter":
    from producers.replay import ChoiceRefused, choose

    try:
        return choose(topic, group=group, reason=reason)
    except ChoiceRefused as error:
        stop(f"{'TOPIC' if error.name == 'topic' else f'--{error.name}'}: {error}", 2)


async def _list(
    topic: str | None, group: str | None, reason: str | None, limit: int, *, as_json: bool
) -> int:
    from core.storage.stream import letter_pages
    from producers.main import open_database

    async with open_database() as pool:
        wanted = letter_pages.DeadLetterFilter(topic=topic, group=group, reason=reason)
        found = await letter_pages.page(pool, wanted, limit)
    if as_json:
        print_json(found)
        return 0
    if not found:
        typer.echo("no dead letters")
    for one in found:
        place = f"{one.topic}/{one.partition}@{one.offset}"
        typer.echo(f"{one.id}  {place}  {one.group}  {one.reason}  {one.detail}")
    return 0


async def _count(wanted: "LetterFilter", *, as_json: bool) -> int:
    from core.storage.stream import replays
    from producers.main import open_database

    async with open_database() as pool:
        matched = await replays.counts(pool, wanted)
        unreadable = await _count_unreadable(pool, wanted)
    if as_json:
        print_json({"matched": matched, "unreadable": unreadable})
        return 0
    typer.echo(f"{sum(matched.values())} dead letters of {wanted.topic}{_by_reason(matched)}")
    _show_unreadable(unreadable)
    return 0


async def _replay(wanted: "LetterFilter", limit: int | None, *, as_json: bool) -> int:
    from producers.main import open_database, open_publisher
    from producers.publishing import Patience
    from producers.replay import Replay

    async with open_publisher("producers-replay") as publisher, open_database() as pool:
        done = await Replay(pool, publisher, Patience()).run(wanted, limit)
        unreadable = await _count_unreadable(pool, wanted)
    if as_json:
        print_json({"replayed": done.by_reason, "refused": done.refused, "unreadable": unreadable})
    else:
        typer.echo(f"{done.by_reason.total()} put back{_by_reason(done.by_reason)}")
        typer.echo(f"{done.refused.total()} not put back{_by_reason(done.refused)}")
        _show_unreadable(unreadable)
    return int(bool(done.refused))


async def _count_unreadable(pool: "Pool", wanted: "LetterFilter") -> int:
    from core.storage.stream import replays

    return 0 if wanted.reason else await replays.count_unreadable(pool, wanted)


def _show_unreadable(number: int) -> None:
    if number:
        typer.echo(f"{number} more cannot be put back: their bytes were never read")


def _by_reason(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ": " + ", ".join(f"{number} {reason}" for reason, number in ordered) if counts else ""
