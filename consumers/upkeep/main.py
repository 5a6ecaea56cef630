"""Composition root of upkeep: the same chores in every consumer process."""

from functools import partial

from consumers.best_images import BestImages
from consumers.upkeep.changing import ImageChanging
from consumers.upkeep.chores import Chore, Upkeep
from consumers.upkeep.operator_notices import OperatorNotices
from consumers.upkeep.pruning import Pruner
from consumers.upkeep.recollecting import Recollecting
from consumers.upkeep.repair import BestImagesRepair, postponed
from core.blobs.keepers import keeper_of
from core.blobs.thumbs import thumb_keepers
from core.settings import ArchiveSettings, KafkaSettings, RetentionSettings, TaggingSettings, load
from core.storage import leases
from core.storage.archive import following, statistics
from core.storage.archive.blobs import PostgresBlobs
from core.storage.best import noted
from core.storage.deciding import image_changes
from core.storage.delivery import lanes, operator_events
from core.storage.stream import changes
from core.telemetry.metrics import Metrics
from core.transaction import Database, Transaction

PRUNE_S = 600.0
REPAIR_S = 1.0
FOLD_S = 1.0
FOLLOW_S = 1.0
FORGET_S = 60.0
RECOLLECT_S = 0.5  # the groups wait for it
TELL_S = 5.0  # a heartbeat's interval: what is told stands there no sooner


def open_upkeep(database: Database, metrics: Metrics) -> Upkeep:
    """Return the chores as the settings describe them; does no I/O.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    blobs = load(ArchiveSettings).blobs
    pruner = Pruner(
        database.transaction,
        {"kept_bytes": keeper_of(blobs, PostgresBlobs(database)), **thumb_keepers(blobs)},
        load(RetentionSettings),
        lambda table: metrics.prune_failures.labels(table).inc(),
    )
    is_softmax = load(TaggingSettings).scoring == "softmax"
    repair = BestImagesRepair(database, is_softmax=is_softmax)
    notices = OperatorNotices(database)
    changing = ImageChanging(database, BestImages(is_softmax=is_softmax))
    recollecting = Recollecting(database, load(KafkaSettings), blobs.startswith("pg:"))
    return Upkeep(
        database,
        (
            Chore(leases.PRUNING, PRUNE_S, _always, pruner.step),
            Chore("best_images", REPAIR_S, repair.is_needed, repair.step, postponed),
            Chore("counts", FOLD_S, statistics.has_changes, partial(_fold, database)),
            Chore("tags", FOLLOW_S, noted.exist, partial(_follow, database)),
            Chore("image_changes", FOLLOW_S, image_changes.are_open, changing.step),
            Chore("lanes", PRUNE_S, _always, partial(_reopen, database)),
            Chore("changes", FORGET_S, _always, partial(_forget, database)),
            Chore("recollecting", RECOLLECT_S, recollecting.is_needed, recollecting.step),
            Chore("operator_events", TELL_S, operator_events.have_listeners, notices.step),
        ),
        moved=metrics.signs.part("upkeep").moved,
    )


async def _always(_connection: Transaction) -> bool:
    return True


async def _fold(database: Database) -> bool:
    async with database.connection() as connection:
        await statistics.fold(connection)
    return False  # a fold takes what has gathered: the rest is for the next second


async def _follow(database: Database) -> bool:
    async with database.transaction() as tx:
        return await following.follow_noted(tx)


async def _forget(database: Database) -> bool:
    async with database.connection() as connection:
        return await changes.prune(connection)


async def _reopen(database: Database) -> bool:
    async with database.transaction() as tx:
        await lanes.reopen_lanes(tx)
    return False
