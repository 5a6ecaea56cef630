"""Searching and counting in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.relevance.matching import Matched
from core.relevance.ranking import recency
from core.storage.archive import search, statistics
from core.storage.archive.images import ImageStatus
from core.storage.archive.search import Dated, Match, Sought
from core.storage.archive.statistics import TagCount, TagPair
from core.transaction import Database, Transaction
from ingress.reading.language import Words
from ingress.reading.ports import Counts, Found, Meaning, Wanted

#: Pages that are read for one that is asked for, where many images may not be shown to the caller.
ROUNDS = 5
SHOWN_CAMERAS = 100
THROUGHPUT_HOURS = 48


@dataclass(frozen=True, slots=True)
class StoredInsights:
    """What `core.storage.archive.search` and `core.storage.archive.statistics` know."""

    database: Database
    words: Words

    async def find(self, wanted: Wanted, limit: int) -> Found:
        """Return at most `limit` images; fewer may come before the last page."""
        matched: Sequence[Matched] = ()
        if wanted.text is not None:
            matched = (await self.words.understand(wanted.text)).matched
        async with self.database.connection() as connection:
            sought = await _sought(connection, wanted, matched)
            if sought is not None and not sought.label_ids:
                return Found((), matched)
            return await _page(connection, wanted, sought, matched, limit)

    async def understand(self, text: str) -> Meaning:
        """Return words and labels of a text."""
        return await self.words.understand(text)

    async def tags(self) -> Sequence[TagCount]:
        """Return all tags that any image carries, the commonest first."""
        async with self.database.connection() as connection:
            return await statistics.tags(connection)

    async def pairs(self, limit: int, tag: str | None) -> Sequence[TagPair]:
        """Return the commonest pairs of tags among the newest images."""
        async with self.database.connection() as connection:
            return await statistics.pairs(connection, limit, tag)

    async def counts(self, since: datetime, until: datetime) -> Counts:
        """Return figures of a time: days and failures of all of it, hours of its last 48."""
        begun = max(since, until - timedelta(hours=THROUGHPUT_HOURS))
        async with self.database.connection() as connection:
            return Counts(
                statuses=await statistics.counts(connection, "status"),
                days=await statistics.days(connection, since.date(), until.date()),
                hours=await statistics.counts(connection, "hour", _hour(begun), _hour(until)),
                failures=await statistics.failures(connection, since, until),
                cameras=await statistics.cameras(connection, SHOWN_CAMERAS),
            )


async def _sought(
    connection: Transaction, wanted: Wanted, matched: Sequence[Matched]
) -> Sought | None:
    """Return the labels to look for; None where only dates are asked for."""
    tag_id = None if wanted.tag is None else await search.label_id(connection, wanted.tag)
    if wanted.text is None and wanted.tag is None:
        return None
    named = [found.label.id for found in matched] if wanted.text is not None else [tag_id]
    if wanted.tag is not None and tag_id is None:
        named = []
    return Sought(
        label_ids=tuple(label_id for label_id in named if label_id is not None),
        required_id=tag_id,
        ts_from=search.INT4_MIN if wanted.since is None else _seconds(wanted.since),
        ts_to=search.INT4_MAX if wanted.until is None else _seconds(wanted.until) - 1,
    )


async def _page(
    connection: Transaction,
    wanted: Wanted,
    sought: Sought | None,
    matched: Sequence[Matched],
    limit: int,
) -> Found:
    images: list[tuple[ImageStatus, int | None]] = []
    after = wanted.after
    for _ in range(ROUNDS):
        places = await _places(connection, wanted, sought, after, limit + 1)
        numbers = [place.number for place in places]
        shown = await search.shown(connection, numbers, wanted.visible)
        for place in places:
            if len(images) == limit:
                return Found(images, matched, after)
            after = place
            if place.number in shown:
                score = place.score if isinstance(place, Match) else None
                images.append((shown[place.number], score))
        if len(places) <= limit:
            return Found(images, matched, None)
    return Found(images, matched, after)


async def _places(
    connection: Transaction,
    wanted: Wanted,
    sought: Sought | None,
    after: Match | Dated | None,
    limit: int,
) -> Sequence[Match] | Sequence[Dated]:
    if sought is not None:
        place = after if isinstance(after, Match) else None
        return await search.matches(connection, sought, place, limit)
    since = _naive(wanted.since) if wanted.since else datetime(1, 1, 1)  # noqa: DTZ001 - as EXIF
    until = _naive(wanted.until) if wanted.until else datetime(9999, 12, 31)  # noqa: DTZ001
    dated = after if isinstance(after, Dated) else None
    return await search.taken_between(connection, since, until, dated, limit)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _seconds(moment: datetime) -> int:
    return recency(None, moment, moment)


def _hour(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")
