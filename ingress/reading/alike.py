"""Groups of images that are alike, level by level: found, compared, with what was decided."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.storage.finding import bursts, decisions, duplicates, evidence
from core.storage.finding.decisions import AlikeSubject, Decision, Key, State, keys_of
from core.storage.finding.duplicates import Level
from core.storage.finding.evidence import Evidence
from core.storage.pool import Pool
from ingress.http.waiting import Shared
from ingress.reading import same_photos

MAX_ROW_ID = 2**63 - 1
LEVELS: tuple[Level, ...] = ("identical", "same_photo", "burst")
#: A cursor of any level is a number of so many hexadecimal digits.
DIGITS = 64
#: That of decisions is its time, and what it is kept by: a content, the id of an image, or both.
TIME_DIGITS, ID_DIGITS, OWN_DIGITS = 16, 32, 96
_HALF = 16 * 8
_EPOCH = datetime.fromtimestamp(0, UTC)
_BEGINNING = datetime(1, 1, 1)  # noqa: DTZ001 - EXIF times have no zone
#: For the totals of one level; they are remembered for a minute.
TOTALS_S, TOTALS_FRESH_S = 1.0, 60.0
TOTALS_PAGE = 200
MAX_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class FoundGroup:
    """Images that are alike, the oldest first, with what was decided.

    Attributes:
        pairs: the first image and each other one, with the decision about the two.
        texts_differ: two pages of text with different lines: whatever their level, not one photo.
    """

    level: Level
    images: Sequence[Evidence]
    cosine: float | None
    hash_distance: int | None
    pairs: Sequence[tuple[Evidence, Evidence, Decision | None]]
    texts_differ: bool

    @property
    def is_decided(self) -> bool:
        """Whether nobody has to choose any more."""
        return all(decision is not None for _, _, decision in self.pairs)


@dataclass(frozen=True, slots=True)
class FoundGroups:
    """A page; `next` is the cursor of the page that follows, None on the last one."""

    groups: Sequence[FoundGroup]
    next: str | None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class _Raw:
    image_ids: Sequence[UUID]
    cosine: float | None = None
    hash_distance: int | None = None
    texts_differ: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """How many groups of each level are undecided, and what their smaller files take."""

    groups: Mapping[Level, int]
    bytes_to_gain: Mapping[Level, int]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class _Remembered:
    at: float
    state: State
    totals: Totals


@dataclass(slots=True)
class AlikeFinder:
    """Finds groups.

    Attributes:
        comparing: held while a page of the same photos is made.
    """

    pool: Pool
    comparing: asyncio.Lock
    _totals: dict[str | None, _Remembered] = field(default_factory=dict)
    _counting: dict[tuple[str | None, State], Shared[Totals]] = field(default_factory=dict)

    async def page(
        self, level: Level, *, owner: str | None, cursor: str, limit: int
    ) -> FoundGroups:
        """Return at most `limit` groups of a level that are undecided."""
        find = {"identical": self._identical, "same_photo": self._same_photo, "burst": self._burst}
        raw, follows, is_complete = await find[level](owner, cursor, limit)
        groups = await self._found(level, raw, owner)
        return FoundGroups([one for one in groups if not one.is_decided], follows, is_complete)

    async def decided(
        self, level: Level, *, owner: str | None, cursor: str, limit: int
    ) -> FoundGroups:
        """Return pairs of a level that were decided about, the newest decision first."""
        before = _decision_before(cursor)
        async with self.pool.connection() as connection:
            rows = await decisions.newest(
                connection,
                of_copies=level == "identical",
                owner=owner,
                before=before,
                limit=limit + 1,
            )
            keys = [key for row in rows[:limit] for key in (row.one, row.other)]
            known = await decisions.subjects(connection, keys, owner=owner)
        found = []
        for row in rows[:limit]:
            if row.one in known and row.other in known:
                pair = known[row.one].image_id, known[row.other].image_id
                group = await self.pair(*pair, owner=owner)
                if group is not None and group.level == level and group.is_decided:
                    found.append(group)
        follows = None
        if len(rows) > limit:
            last = rows[limit - 1]
            since = (last.decided_at - _EPOCH) // timedelta(microseconds=1)
            follows = f"{since:0{TIME_DIGITS}x}{last.one.hex()}"
        return FoundGroups(found, follows)

    async def pair(self, one: UUID, other: UUID, *, owner: str | None) -> FoundGroup | None:
        """Return two images side by side; None where one has no tags, or is not there.

        Images that are not alike by what is known of them now, as the first and the last of a long
        burst, are shown at that level.
        """
        async with self.pool.connection() as connection:
            compared = await evidence.compare(connection, one, other)
        raw = _Raw((one, other), compared.cosine, compared.hash_distance, compared.texts_differ)
        return next(iter(await self._found(compared.level or "burst", [raw], owner)), None)

    async def totals(self, owner: str | None) -> Totals:
        """Return how much is undecided, counted for a second a level, once a minute.

        Whoever asks meanwhile waits for the same count; a decision by anybody has it counted anew.
        """
        state = await decisions.state(self.pool)
        known = self._totals.get(owner)
        if known and known.state == state and time.monotonic() - known.at < TOTALS_FRESH_S:
            return known.totals
        shared = self._counting.setdefault((owner, state), Shared())
        try:
            return await shared.of(lambda: self._count_all(owner, state))
        finally:
            self._counting.pop((owner, state), None)

    async def _count_all(self, owner: str | None, state: State) -> Totals:
        groups: dict[Level, int] = {}
        gain: dict[Level, int] = {}
        is_exact = True
        for level in LEVELS:
            groups[level], gain[level], is_all = await self._count(level, owner)
            is_exact &= is_all
        if len(self._totals) >= MAX_REMEMBERED:
            self._totals.clear()
        totals = Totals(groups, gain, is_exact)
        self._totals[owner] = _Remembered(time.monotonic(), state, totals)
        return totals

    async def _count(self, level: Level, owner: str | None) -> tuple[int, int, bool]:
        groups, gain, is_complete = 0, 0, True
        cursor, deadline = "", time.monotonic() + TOTALS_S
        while True:
            page = await self.page(level, owner=owner, cursor=cursor, limit=TOTALS_PAGE)
            groups += len(page.groups)
            gain += sum(evidence.bytes_to_gain(group.images) for group in page.groups)
            is_complete &= page.is_complete
            if page.next is None:
                return groups, gain, is_complete
            if time.monotonic() > deadline:
                return groups, gain, False
            cursor = page.next

    async def _found(
        self, level: Level, raw: Sequence[_Raw], owner: str | None
    ) -> list[FoundGroup]:
        """Return groups with what is known of their images and was decided about them."""
        async with self.pool.connection() as connection:
            ids = [image_id for one in raw for image_id in one.image_ids]
            known = await evidence.images(connection, ids)
            alike = [
                sorted((known[one] for one in group.image_ids if one in known), key=_row)
                for group in raw
            ]
            keys = [key for group in alike for other in group[1:] for key in _keys(group[0], other)]
            decided = await decisions.of(connection, keys, owner=owner)
        return [
            FoundGroup(
                level,
                images,
                one.cosine,
                one.hash_distance,
                [(images[0], other, _about(decided, images[0], other)) for other in images[1:]],
                one.texts_differ,
            )
            for one, images in zip(raw, alike, strict=True)
            if len(images) > 1
        ]

    async def _identical(
        self, owner: str | None, cursor: str, limit: int
    ) -> tuple[Sequence[_Raw], str | None, bool]:
        after = bytes.fromhex(cursor)
        found = await duplicates.identical(self.pool, owner=owner, after=after, limit=limit + 1)
        follows = found[limit - 1].sha256.hex() if len(found) > limit else None
        return [_Raw(one.image_ids) for one in found[:limit]], follows, True

    async def _same_photo(
        self, owner: str | None, cursor: str, limit: int
    ) -> tuple[Sequence[_Raw], str | None, bool]:
        place = min(int(cursor or "0", 16), MAX_ROW_ID)  # the cursor may be of another level
        page = await same_photos.find(
            self.pool, self.comparing, owner=owner, after=place, limit=limit
        )
        raw = [
            _Raw((one.older_id, one.newer_id), one.cosine, one.hash_distance) for one in page.pairs
        ]
        follows = None if page.next is None else f"{page.next:0{DIGITS}x}"
        return raw, follows, page.is_complete

    async def _burst(
        self, owner: str | None, cursor: str, limit: int
    ) -> tuple[Sequence[_Raw], str | None, bool]:
        page = await bursts.page(self.pool, owner=owner, before=_moment(cursor), limit=limit)
        raw = [_Raw(one.image_ids, one.cosine) for one in page.bursts]
        if page.next is None:
            return raw, None, True
        at, row = page.next
        number = ((at - _BEGINNING) // timedelta(microseconds=1)) << _HALF | row
        return raw, f"{number:0{DIGITS}x}", True


def subject_of(image: Evidence) -> AlikeSubject:
    """Return an image as decisions know it."""
    return AlikeSubject(image.image_id, image.sha256)


def _keys(one: Evidence, other: Evidence) -> tuple[Key, Key]:
    return keys_of(subject_of(one), subject_of(other))


def _about(decided: Mapping[Key, Decision], one: Evidence, other: Evidence) -> Decision | None:
    return next((decided[key] for key in _keys(one, other) if key in decided), None)


def _row(image: Evidence) -> int:
    return image.row


def _decision_before(cursor: str) -> tuple[datetime, bytes] | None:
    if len(cursor) in {0, DIGITS}:  # of a level
        return None
    try:
        at = _EPOCH + timedelta(microseconds=int(cursor[:TIME_DIGITS], 16))
    except OverflowError:
        return None
    return at, bytes.fromhex(cursor[TIME_DIGITS:])


def _moment(cursor: str) -> tuple[datetime, int] | None:
    if not cursor:
        return None
    number = int(cursor, 16)
    try:
        at = _BEGINNING + timedelta(microseconds=number >> _HALF)
    except OverflowError:  # of another level
        return None
    return at, min(number & (1 << _HALF) - 1, MAX_ROW_ID)
