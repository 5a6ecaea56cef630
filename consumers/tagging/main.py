"""Composition root of the tagging consumer: CLIP, PostgreSQL and Kafka meet here."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from consumers.best_images import BestImages
from consumers.image_bytes import open_image_bytes
from consumers.runtime import Runtime, Subscription, open_metrics, open_runtime, run_all
from consumers.tagging.adapters import PostgresTags, PromptBlobs
from consumers.tagging.arrivals import Arrival, decode_arrival
from consumers.tagging.labelled_tagger import LabelledTagger
from consumers.tagging.lanes import FirstInLine, RightOfWay
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.parked_metrics import ParkedMetrics
from consumers.tagging.previewing import Previewing
from consumers.tagging.rescoring import Rescoring
from consumers.tagging.role import TaggingRole
from consumers.tagging.slow_lane import SlowLane, places
from consumers.tagging.thumb_queue import ThumbQueue
from consumers.upkeep.main import open_upkeep
from core.blobs.store import BlobStore
from core.blobs.thumbs import thumb_keeper_of
from core.messaging.role import Role
from core.settings import ArchiveSettings, DecodeSettings, TaggingSettings, load
from core.starting import Beginning
from core.storage.stream import dead_letters
from core.storage.thumbs import PostgresThumbs
from core.tags import Postponed, Tagged
from core.vision.decoding.decoder import pool_limits
from core.vision.opening import open_taggers
from schemas.topics import Lane

log = structlog.get_logger(__name__)


async def main(beginning: Beginning, lanes: Sequence[Lane] = tuple(Lane)) -> None:
    """Tag arrivals until a signal asks for the end.

    Args:
        beginning: of the process.
        lanes: those that it works on; of both the fresh one has the right of way.

    Raises:
        ConfigurationError: a setting cannot be worked with, or the model cannot be loaded.
    """
    settings, decoding = load(TaggingSettings), load(DecodeSettings)
    max_image_bytes = load(ArchiveSettings).fetch_max_bytes
    measuring = TaggingMetrics(metrics := open_metrics(beginning.listening))
    async with (
        # Before joining the group: loading takes seconds, and a heartbeat must not wait for it.
        open_taggers(
            settings,
            decoding,
            max_image_bytes=max_image_bytes,
            observe=measuring.passed,
            halved=measuring.halved,
        ) as taggers,
    ):
        clip = taggers.ordinary
        log.info("model_ready", model=clip.identity)
        stop = await beginning.over()
        async with (
            open_runtime("tagging", metrics) as runtime,
            open_image_bytes(runtime.pool) as image_bytes,
        ):
            best = BestImages(is_softmax=settings.scoring == "softmax")
            table = PostgresTags(best)
            keeper = thumb_keeper_of(load(ArchiveSettings).blobs, PostgresThumbs(runtime.pool))
            thumbs = ThumbQueue(keeper, measuring.thumbs)
            tagger = LabelledTagger(runtime.pool, clip, metrics.reused_images.inc, thumbs.offer)
            role = TaggingRole(PromptBlobs(image_bytes.store), tagger, table, measuring)
            workers = pool_limits(decoding, max_image_bytes).workers
            roles = _roles(role, tagger, image_bytes.store, workers)
            patient = replace(tagger, clip=taggers.patient)
            slow = TaggingRole(image_bytes.store, patient, table, measuring)
            companions = [
                *(lane.run for lane in _slow_lanes(runtime, slow, taggers.apart)),
                thumbs.run,
                ParkedMetrics(metrics, runtime.pool).run,
                Rescoring(runtime.pool, tagger, best, metrics.rescored_images.inc).run,
                Previewing(runtime.pool, clip).run,
                open_upkeep(runtime.pool, metrics).run,
            ]
            subscriptions = [_subscription(lane, roles[lane], clip.identity) for lane in lanes]
            await run_all(runtime, subscriptions, stop, companions)


def _slow_lanes(runtime: Runtime, role: TaggingRole, decoders: int) -> list[SlowLane]:
    """Return what works off the pictures that were parked, one lane a reason."""
    moved = runtime.metrics.signs.part("tagging_slow").moved
    return [
        SlowLane(runtime.pool, role, dead_letters, runtime.outbox, why, at_once, moved)
        for why, at_once in places(decoders).items()
    ]


def _subscription(
    lane: Lane, role: Role[Arrival, Tagged | Postponed], model: str
) -> Subscription[Arrival, Tagged | Postponed]:
    return Subscription(lane.group, role, decode_arrival, {"model": model, "lane": lane.value})


def _roles(
    role: TaggingRole, tagger: LabelledTagger, store: BlobStore, workers: int
) -> dict[Lane, Role[Arrival, Tagged | Postponed]]:
    """Return each lane's role: the fresh one has the right of way, the bulk one gives way.

    Args:
        role: as it is where there is one lane.
        tagger: the role's.
        store: where the bytes lie; the bulk lane reads apart from the fresh one.
        workers: decoder processes.
    """
    way = RightOfWay()
    behind = tagger.clip.giving_way(way.turn, workers)
    bulk = replace(role, blobs=PromptBlobs(store.apart()), tagger=replace(tagger, clip=behind))
    return {Lane.FRESH: FirstInLine(role, way), Lane.BULK: bulk}
