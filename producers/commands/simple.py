"""What each command of `python -m producers` does; gives the exit code: 0 done, 1 not all of it."""

from itertools import islice
from pathlib import Path
from uuid import uuid4

import typer
from rich.console import Console

from core.storage.archive import selection
from core.storage.archive.selection import Choice
from core.storage.pool import Pool
from core.storage.stream import replays
from core.storage.stream.replays import LetterFilter
from producers.commands.terminal import RunDisplay, print_counts, print_summary
from producers.folders.announcing import Announcer
from producers.jobs import JobRunner
from producers.main import open_database, open_publisher, open_roots, stop_on_signals
from producers.publishing import Patience
from producers.questions import BATCH_QUERIES, read_lines, submit_all
from producers.replay import UNREADABLE, Replay
from producers.retag import Retag

JOB_PATIENCE = Patience(limit_s=20.0)  # well under a job's lease


async def submit_queries(file: Path, callback_url: str | None, run: str | None) -> int:
    """Submit the queries of a file; print the id of each, and what is wrong with the others."""
    console = Console(stderr=True)
    submitted, refused = 0, 0
    with file.open(encoding="utf-8") as lines:
        read = read_lines(lines, callback_url=callback_url, run=run)
        async with open_publisher("producers-queries") as publisher:
            while batch := list(islice(read, BATCH_QUERIES)):
                for outcome in await submit_all(publisher, batch, Patience()):
                    if outcome.problem is None:
                        submitted += 1
                        typer.echo(f"{outcome.line.number}\t{outcome.line.query_id}")
                    else:
                        refused += 1
                        console.print(
                            f"line {outcome.line.number}: {outcome.problem}", markup=False
                        )
    console.print(f"{submitted} submitted, {refused} not submitted")
    return int(bool(refused))


async def run_jobs(roots: tuple[str, ...], *, until_empty: bool) -> int:
    """Run directory jobs until a signal comes, or until none waits."""
    async with (
        open_publisher("producers-jobs") as publisher,
        open_database() as pool,
        stop_on_signals() as stop,
    ):
        announcer = Announcer(publisher, "/producers/jobs", JOB_PATIENCE)
        runner = JobRunner(pool, open_roots(roots), announcer)
        if not until_empty:
            await runner.run_until(stop)
        while until_empty and not stop.is_set() and await runner.run_next(stop):
            pass
    return 0


async def replay_letters(wanted: LetterFilter, limit: int | None, *, dry_run: bool) -> int:
    """Put dead letters back on their topic, or only count them."""
    console = Console(stderr=True)
    async with open_publisher("producers-replay") as publisher, open_database() as pool:
        if dry_run:
            counts = await replays.counts(pool, wanted)
            console.print(f"{sum(counts.values())} dead letters of {wanted.topic}")
            print_counts(console, "by reason", counts)
            await _tell_unreadable(console, pool, wanted)
            return 0
        done = await Replay(pool, publisher, Patience()).run(wanted, limit)
        await _tell_unreadable(console, pool, wanted)
    console.print(f"{done.by_reason.total()} put back, {done.refused.total()} not")
    print_counts(console, "put back", done.by_reason)
    print_counts(console, "not put back", done.refused)
    return int(bool(done.refused))


async def _tell_unreadable(console: Console, pool: Pool, wanted: LetterFilter) -> None:
    unreadable = 0 if wanted.reason else await replays.count_unreadable(pool, wanted)
    if unreadable:
        console.print(f"{unreadable} more ({UNREADABLE}) stay: only their places are known")


async def retag_images(choice: Choice, limit: int | None, *, dry_run: bool) -> int:
    """Announce known images again, or only count them."""
    console = Console(stderr=True)
    async with open_publisher("producers-retag") as publisher, open_database() as pool:
        if dry_run:
            console.print(f"{await selection.count(pool, choice)} images")
            return 0
        announcer = Announcer(publisher, "/producers/retag", Patience())
        with RunDisplay(console, follows=False) as display:
            tally = await Retag(pool, announcer).run(choice, limit, uuid4(), display.show_published)
    print_summary(console, tally, None)
    return int(bool(tally.refused))
