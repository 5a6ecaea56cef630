"""The process `watch`: one bridge per directory, until a signal comes."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.settings import ArchiveSettings, load
from producers.beating import beating
from producers.folders.announcing import Announcer
from producers.folders.bridge import Bridge
from producers.folders.hints import WatchfilesHints
from producers.folders.intake import FileIntake
from producers.folders.settling import Pace
from producers.main import locate, open_database, open_publisher, open_roots, stop_on_signals
from producers.publishing import Patience

DRAIN_S = 10.0  # for the batch in hand; less than what service managers give before a kill


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Options of `watch`; times in seconds (`producers.folders.settling.Pace`)."""

    roots: tuple[str, ...] = ()
    settle_s: float = 2.0
    rescan_s: float = 600.0
    poll_s: float = 15.0


async def watch_directories(directories: Sequence[Path], options: WatchOptions) -> int:
    """Watch directories until SIGINT or SIGTERM; return the exit code.

    Raises:
        ConfigurationError: a directory is under no root, or a setting cannot be worked with.
    """
    roots = open_roots(options.roots)
    places = outermost([locate(roots, directory) for directory in directories])
    pace = Pace(
        settle_s=options.settle_s,
        rescan_s=options.rescan_s,
        poll_s=options.poll_s,
        max_bytes=load(ArchiveSettings).fetch_max_bytes,
    )
    async with (
        open_publisher("producers-watch") as publisher,
        open_database() as pool,
        stop_on_signals() as stop,
        beating(pool, "watch", _name_of(places)) as vitals,
    ):
        announcer = Announcer(publisher, "/producers/watch", Patience(limit_s=math.inf))
        intake = FileIntake(roots, pool, announcer, pace)
        async with asyncio.TaskGroup() as bridges:
            for place in places:
                hints = WatchfilesHints(directory_of(roots, place))
                bridges.create_task(Bridge(place, intake, moved=vitals.moved).run(hints, stop))
        await intake.drain(DRAIN_S)
    return 0


def _name_of(places: Sequence[RootedPath]) -> str:
    """Return what a process with these directories is called: the same after a restart."""
    return sha256("\n".join(place.uri for place in places).encode()).hexdigest()[:8]


def outermost(places: Sequence[RootedPath]) -> list[RootedPath]:
    """Return the places that lie within no other, so that no file is watched twice."""
    kept: list[RootedPath] = []
    for place in sorted(set(places), key=lambda each: (each.root, each.relative + b"/")):
        if not any(_holds(outer, place) for outer in kept):
            kept.append(place)
    return kept


def directory_of(roots: Roots, place: RootedPath) -> Path:
    """Return the place's path on this host, with its links, which may lead elsewhere later."""
    return roots.path_of(place.root) / place.relative.decode("utf-8", "surrogateescape")


def _holds(outer: RootedPath, inner: RootedPath) -> bool:
    if outer.root != inner.root:
        return False
    return not outer.relative or inner.relative.startswith(outer.relative + b"/")
