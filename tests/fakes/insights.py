"""Searching and counting in memory, over the images of a fake archive."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from core.language.lemmatizer import LemmatizedWord
from core.relevance.matching import Matched
from core.storage.archive.images import ImageStatus
from core.storage.archive.search import Match
from core.storage.archive.statistics import TagCount, TagPair
from core.tags import Label, score_to_int
from ingress.reading.ports import Counts, Found, Meaning, Wanted


@dataclass
class MemoryInsights:
    """`ingress.reading.search.StoredInsights`; every word is its own lemma, and a label."""

    rows: Mapping[UUID, ImageStatus]

    async def find(self, wanted: Wanted, limit: int) -> Found:
        names = [wanted.tag] if wanted.text is None else wanted.text.split()
        places = sorted(
            (
                (score, number, row)
                for number, row in enumerate(self.rows.values(), 1)
                if self._is_visible(row, wanted)
                and (score := sum(_score(row, name) for name in names if name)) > 0
            ),
            key=lambda place: place[:2],
            reverse=True,
        )
        after = wanted.after
        if isinstance(after, Match):
            places = [p for p in places if p[:2] < (after.score, after.number)]
        last = places[limit - 1] if len(places) > limit else None
        return Found(
            [(row, score) for score, _, row in places[:limit]],
            (await self.understand(wanted.text or "")).matched,
            None if last is None else Match(last[0], 0, last[1]),
        )

    def _is_visible(self, row: ImageStatus, wanted: Wanted) -> bool:
        visible = wanted.visible
        return (
            (visible.owner is None or row.owner in {None, visible.owner})
            and (visible.job_id is None or row.job_id == visible.job_id)
            and (visible.status is None or row.status == visible.status)
        )

    async def understand(self, text: str) -> Meaning:
        words = tuple(text.split())
        return Meaning(
            [LemmatizedWord(word, frozenset({word})) for word in words],
            [Matched(Label(word), (word,)) for word in dict.fromkeys(words)],
        )

    async def tags(self) -> Sequence[TagCount]:
        scores: dict[str, list[float]] = {}
        for row in self.rows.values():
            for tag in row.tags or ():
                scores.setdefault(tag["tag"], []).append(tag["score"])
        found = [TagCount(tag, len(s), round(sum(s) / len(s), 6)) for tag, s in scores.items()]
        return sorted(found, key=lambda one: (-one.images, one.tag))

    async def pairs(self, limit: int, tag: str | None) -> Sequence[TagPair]:
        return ()

    async def counts(self, since: datetime, until: datetime) -> Counts:
        statuses: dict[str, int] = {}
        for row in self.rows.values():
            statuses[row.status] = statuses.get(row.status, 0) + 1
        assert since.tzinfo is UTC
        cameras = Counter(row.camera for row in self.rows.values() if row.camera)
        return Counts(statuses, {}, {}, (), dict(cameras.most_common()))


def _score(row: ImageStatus, name: str) -> int:
    return sum(score_to_int(tag["score"]) for tag in row.tags or () if tag["tag"] == name)
