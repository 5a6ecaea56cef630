"""One page of the images that a search finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.relevance.matching import Matched
from core.relevance.ranking import recency
from core.storage.archive.images import ImageStatus
from core.storage.finding import search
from core.storage.finding.search import Dated, Match, Sought, Visible
from core.storage.pool import Pool
from core.transaction import Transaction
from ingress.reading.language import TextReader

#: At most so many pages are read for one, where the caller may not see many of their images.
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class ImageSearch:
    """Which images are looked for; at least one of text, tag and dates is given.

    Attributes:
        text: images with any label that it names, ranked by the sum of their confidences.
        tag: images with this label.
        since: taken then or later (aware); `until`: before.
        after: the place of the last image of the page before.
    """

    visible: Visible
    text: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Match | Dated | None = None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of images.

    Attributes:
        images: with the sum of matched confidences in millionths, where labels were looked for.
        matched: the labels that the text names.
        next: the place behind which the next page begins; None on the last page.
    """

    images: Sequence[tuple[ImageStatus, int | None]]
    matched: Sequence[Matched] = ()
    next: Match | Dated | None = None


async def find(pool: Pool, reader: TextReader, wanted: ImageSearch, limit: int) -> SearchPage:
    """Return at most `limit` images; fewer may come before the last page."""
    matched: Sequence[Matched] = ()
    if wanted.text is not None:
        matched = (await reader.understand(wanted.text)).matched
    async with pool.connection() as connection:
        sought = await _sought(connection, wanted, matched)
        if sought is not None and not sought.label_ids:
            return SearchPage((), matched)
        return await _page(connection, wanted, sought, matched, limit)


async def _sought(
    connection: Transaction, wanted: ImageSearch, matched: Sequence[Matched]
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
    wanted: ImageSearch,
    sought: Sought | None,
    matched: Sequence[Matched],
    limit: int,
) -> SearchPage:
    images: list[tuple[ImageStatus, int | None]] = []
    after = wanted.after
    for _ in range(ROUNDS):
        places = await _places(connection, wanted, sought, after, limit + 1)
        numbers = [place.number for place in places]
        shown = await search.shown(connection, numbers, wanted.visible)
        for place in places:
            if len(images) == limit:
                return SearchPage(images, matched, after)
            after = place
            if place.number in shown:
                score = place.score if isinstance(place, Match) else None
                images.append((shown[place.number], score))
        if len(places) <= limit:
            return SearchPage(images, matched, None)
    return SearchPage(images, matched, after)


async def _places(
    connection: Transaction,
    wanted: ImageSearch,
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
