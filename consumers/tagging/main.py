"""Composition root of the tagging consumer: CLIP, PostgreSQL and Kafka meet here."""

import asyncio

import structlog

from consumers.best_images import BestImages
from consumers.image_bytes import open_image_bytes
from consumers.runtime import open_runtime, run
from consumers.tagging.adapters import LabelledTagger, PostgresTags, PromptBlobs
from consumers.tagging.arrivals import decode_arrival
from consumers.tagging.heartbeat import Heartbeat
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.parked_metrics import ParkedMetrics
from consumers.tagging.previewing import Previewing
from consumers.tagging.rescoring import Rescoring
from consumers.tagging.role import TaggingRole
from consumers.tagging.slow_lane import SlowLane, places
from consumers.upkeep.main import open_upkeep
from core.settings import ArchiveSettings, DecodeSettings, TaggingSettings, load
from core.storage.stream import dead_letters
from core.vision.opening import open_taggers

log = structlog.get_logger(__name__)


async def main(stop: asyncio.Event) -> None:
    """Tag arrivals until `stop` is set.

    Raises:
        ConfigurationError: a setting cannot be worked with, or the model cannot be loaded.
    """
    settings = load(TaggingSettings)
    async with (
        open_runtime("tagging") as runtime,
        # Before joining the group: loading takes seconds, and a heartbeat must not wait for it.
        open_taggers(
            settings,
            load(DecodeSettings),
            max_image_bytes=load(ArchiveSettings).fetch_max_bytes,
            observe=(measuring := TaggingMetrics(runtime.metrics)).passed,
            halved=measuring.halved,
        ) as taggers,
        open_image_bytes(runtime.pool) as image_bytes,
    ):
        clip = taggers.ordinary
        log.info("model_ready", model=clip.identity)
        best = BestImages(is_softmax=settings.scoring == "softmax")
        table = PostgresTags(best)
        tagger = LabelledTagger(runtime.pool, clip, runtime.metrics.reused_images.inc)
        role = TaggingRole(PromptBlobs(image_bytes.store), tagger, table, measuring)
        rescoring = Rescoring(runtime.pool, tagger, best, runtime.metrics.rescored_images.inc)
        patient = LabelledTagger(runtime.pool, taggers.patient, runtime.metrics.reused_images.inc)
        slow = TaggingRole(image_bytes.store, patient, table, measuring)
        lanes = [
            SlowLane(runtime.pool, slow, dead_letters, runtime.outbox, why, at_once)
            for why, at_once in places(taggers.apart).items()
        ]
        companions = [
            *(lane.run for lane in lanes),
            ParkedMetrics(runtime.metrics, runtime.pool).run,
            rescoring.run,
            Previewing(runtime.pool, clip).run,
            Heartbeat(runtime.pool, clip.identity).run,
            open_upkeep(runtime.pool, runtime.metrics).run,
        ]
        await run(runtime, role, decode_arrival, stop, companions)
