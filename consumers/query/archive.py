"""The best images of queries: from the table of best images, else from the images themselves."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from consumers.query.answering import ImageMatch, LabelQuery
from core.errors import DatabaseAway, PermanentError, QueryInvalid
from core.messaging.liveness import report_progress
from core.relevance.combos import MAX_SIZE, lookup_keys, resolve
from core.relevance.ranking import Rank, recency
from core.storage.best import combos, ranking
from core.transaction import Database

#: Queries of one batch that run exact SQL at a time; each reads all entries of its labels.
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """Answers a batch with two statements where the table suffices, else a query at a time.

    Args:
        timeout_s: after so long PostgreSQL gives up on a statement.
        count: is called with where queries were looked up (`table`, `images`, `images_gap`) and
            how many, for metrics.
    """

    database: Database
    timeout_s: float
    count: Callable[[str, int], object] = lambda _source, _queries: None

    async def best_all(
        self, sought: Sequence[LabelQuery]
    ) -> list[list[ImageMatch] | PermanentError]:
        """Return for each the best images, best first; an error where it takes too long."""
        found: dict[int, list[ImageMatch] | PermanentError] = {}
        plain = {n: one for n, one in enumerate(sought) if _is_plain(one)}
        if plain:
            found |= await self._by_table(plain)
        for source, queries in (
            ("table", len(found)),
            ("images_gap", len(plain) - len(found)),
            ("images", len(sought) - len(plain)),
        ):
            self.count(source, queries)
        asking = [position for position in range(len(sought)) if position not in found]
        found |= await self._ask_all({position: sought[position] for position in asking})
        return [found[position] for position in range(len(sought))]

    async def _ask_all(
        self, asking: dict[int, LabelQuery]
    ) -> dict[int, list[ImageMatch] | PermanentError]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(one: LabelQuery) -> list[ImageMatch] | PermanentError:
            async with slots:
                found = await self._by_images(one)
                report_progress()
                return found

        # Not a task group: the loop must see DatabaseAway itself, not a group of errors.
        results = await asyncio.gather(*map(ask, asking.values()), return_exceptions=True)
        answers: dict[int, list[ImageMatch] | PermanentError] = {}
        for position, result in zip(asking, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, PermanentError):
                raise result
            answers[position] = result
        return answers

    async def _by_table(self, plain: dict[int, LabelQuery]) -> dict[int, list[ImageMatch]]:
        """Return the answers that the table has; other queries are absent."""
        keys = {n: lookup_keys(one.label_ids) for n, one in plain.items()}
        async with self.database.connection() as connection:
            view = await combos.look_up(connection, _union(keys.values()), _labels(plain.values()))
            rows = {key: None if row is None else Rank(*row) for key, row in view.rows.items()}
            ranks = {
                n: resolve(keys[n], rows)
                for n, one in plain.items()
                if view.knows(frozenset(one.label_ids))
            }
            known = {n: one.rank for n, one in ranks.items() if one.is_known}
            winners = {rank.image_id for rank in known.values() if rank is not None}
            images = await ranking.explain(connection, sorted(winners)) if winners else {}
        answers = {n: _found(plain[n], rank, images) for n, rank in known.items()}
        return {n: answer for n, answer in answers.items() if answer is not None}

    async def _by_images(self, sought: LabelQuery) -> list[ImageMatch] | PermanentError:
        began = time.monotonic()
        try:
            async with self.database.connection() as connection:
                images = await ranking.best(connection, sought.label_ids, _filters(sought))
        except DatabaseAway:
            # A query that always takes too long must not block the others.
            if time.monotonic() - began < self.timeout_s or not await self._is_there():
                raise
            return QueryInvalid(
                f"took longer than {self.timeout_s:g} s; fewer labels, or no dates and top_n=1,"
                " are answered at once",
                reason="query_too_slow",
            )
        return [ImageMatch(image.image_id, image.score, image.by_label) for image in images]

    async def _is_there(self) -> bool:
        try:
            async with self.database.connection() as connection:
                return bool(await connection.fetchval("SELECT true"))
        except DatabaseAway:
            return False


def _is_plain(sought: LabelQuery) -> bool:
    """Return whether the best image alone is asked for, of all times."""
    options = sought.options
    has_dates = options.date_from is not None or options.date_to is not None
    return options.top_n == 1 and not has_dates and len(sought.label_ids) <= MAX_SIZE


def _found(
    sought: LabelQuery, rank: Rank | None, images: dict[int, ranking.Explained]
) -> list[ImageMatch] | None:
    """Return the answer, or None where the winner was tagged again since it was looked up."""
    if rank is None or rank.score < sought.min_score:
        return []
    image = images.get(rank.image_id)
    if image is None:
        return None
    wanted = set(sought.label_ids)
    by_label = {label_id: score for label_id, score in image.scores.items() if label_id in wanted}
    if sum(by_label.values()) != rank.score:
        return None
    return [ImageMatch(image.image_id, rank.score, by_label)]


def _union(keys: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    return sorted({key for some in keys for key in some})


def _labels(sought: Iterable[LabelQuery]) -> list[int]:
    return sorted({label_id for one in sought for label_id in one.label_ids})


def _filters(sought: LabelQuery) -> ranking.Filters:
    options = sought.options
    return ranking.Filters(
        top_n=options.top_n,
        min_score=sought.min_score,
        ts_from=_seconds(options.date_from, ranking.INT4_MIN),
        ts_to=_seconds(options.date_to, ranking.INT4_MAX + 1) - 1,
    )


def _seconds(moment: datetime | None, default: int) -> int:
    if moment is None:
        return default
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return recency(None, aware, aware)
