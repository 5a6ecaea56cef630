"""The pruner: keeps every table that grows within its retention."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog

from core.blobs.store import BlobKeeper
from core.errors import PermanentError, TransientError
from core.settings import RetentionSettings
from core.storage import retention
from core.storage.deciding import image_changes
from core.storage.retention import Portion
from core.transaction import Transaction

log = structlog.get_logger(__name__)

#: Portions of one table in a round. The next round goes on where this one ended.
PORTIONS_PER_ROUND = 500
#: Bytes and vectors that nothing refers to, places of published uploads, previews of labels, what
#: came to inboxes, answers to requests that may be asked again, what processes knew of targets
#: and said of themselves. Not a setting: nobody can ask for them any more, or asks again.
UNREFERENCED = timedelta(days=1)
#: Sessions and one-time links that have ended: they let nobody in any more.
ENDED = timedelta(days=1)
#: Names of processes that were never seen again; one that is still alive is written anew.
MEMBERS = timedelta(days=365)
#: Changes to many images, once they can be undone no more.
CHANGES = timedelta(days=30)
#: What operators were told of: longer than `operator_events.TOLD_WITHIN`, or it is told twice.
TOLD = timedelta(days=7)
#: Counts of images tagged in an hour: two days of them are shown.
HOURS = timedelta(days=30)
#: Larger thumbnails are many times as large as small ones, and made anew when asked for.
LARGE_THUMBS = timedelta(days=30)
KEPT_PORTION = 500


def ages(settings: RetentionSettings) -> dict[str, timedelta]:
    """Return how old the rows of each table may become; 0 days in the settings: for ever."""
    days = {
        "queries": settings.queries_days,
        "deliveries": settings.deliveries_days,
        "failures": settings.failures_days,
        "dead_letters": settings.dead_letters_days,
        "target_events": settings.failures_days,
        "targets": settings.failures_days,
        "jobs": settings.jobs_days,
        "tombstones": settings.tombstones_days,
        "deleted_queries": settings.tombstones_days,
    }
    kept = {table: timedelta(days=number) for table, number in days.items() if number}
    undo = {
        "image_change_rows": image_changes.UNDONE_WITHIN + UNREFERENCED,
        "image_changes": CHANGES,
    }
    gone = (
        "outbox_places", "label_previews", "inbox_posts", "asked_once", "target_health",
        "heartbeats", *retention.SWEPT,
    )  # fmt: skip
    own = {
        "members": MEMBERS,
        "sessions": ENDED,
        "session_codes": ENDED,
        "large_thumbs": LARGE_THUMBS,
        "operator_events": TOLD,
        "totals": HOURS,
    }
    return kept | dict.fromkeys(gone, UNREFERENCED) | undo | own


class Pruner:
    """Prunes one portion of one table at a time, table after table.

    Args:
        transaction: opens a transaction of one portion.
        keepers: of the bytes that are kept outside of PostgreSQL, by what they are called among
            the tables.
        settings: how long each kind of row is kept.
        failed: is called with the table of each portion that failed.

    Attributes:
        gone: rows that this round has deleted so far, by table.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        keepers: Mapping[str, BlobKeeper],
        settings: RetentionSettings,
        failed: Callable[[str], object],
    ) -> None:
        self._transaction = transaction
        self._keepers = keepers
        self._ages = ages(settings) | dict.fromkeys(keepers, UNREFERENCED)
        self._failed = failed
        self._after: dict[str, bytes] = {}
        self._left: list[str] = []  # tables of this round, the current one last
        self._portions = 0  # of the current table, in this round
        self.gone: Counter[str] = Counter()

    async def step(self) -> bool:
        """Prune one portion; return False at the end of a round over all tables.

        A portion that fails ends its table's round, and no other's.
        """
        if not self._left:
            self._left = list(reversed(self._ages))
            self.gone.clear()
        if not await self._has_more(self._left[-1]) or self._portions == PORTIONS_PER_ROUND:
            self._left.pop()
            self._portions = 0
        if self._left:
            return True
        if rows := {table: number for table, number in self.gone.items() if number}:
            log.info("pruned", **rows)
        return False

    async def _has_more(self, table: str) -> bool:
        try:
            portion = await self._portion(table)
        except TransientError as error:  # the database is away: the next round may find it
            self._failed(table)
            log.warning("prune_postponed", table=table, error=str(error))
            return False
        except PermanentError as error:
            self._failed(table)
            log.error("prune_failed", table=table, error=str(error))  # noqa: TRY400 - expected
            return False
        self._portions += 1
        self._after[table] = portion.after or b""
        self.gone[table] += portion.rows
        return portion.after is not None

    async def _portion(self, table: str) -> Portion:
        after, age = self._after.get(table, b""), self._ages[table]
        if (keeper := self._keepers.get(table)) is not None:
            return await self._portion_of_kept(keeper, after, age)
        async with self._transaction() as tx:
            return await retention.prune(tx, table, age, after)

    async def _portion_of_kept(self, keeper: BlobKeeper, after: bytes, age: timedelta) -> Portion:
        digests = await keeper.kept(after, KEPT_PORTION)
        async with self._transaction() as tx:
            unreferenced = await retention.unreferenced(tx, digests)
        gone = [await keeper.discard(digest, age) for digest in unreferenced]
        return Portion(sum(gone), digests[-1] if len(digests) == KEPT_PORTION else None)
