"""Composition root of the tagging consumer: CLIP, PostgreSQL and Kafka meet here."""

import structlog

from consumers.best_images import BestImages
from consumers.image_bytes import open_image_bytes
from consumers.runtime import open_metrics, open_runtime, run
from consumers.tagging.adapters import LabelledTagger, PostgresTags
from consumers.tagging.arrivals import decode_arrival
from consumers.tagging.heartbeat import Heartbeat
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.previewing import Previewing
from consumers.tagging.rescoring import Rescoring
from consumers.tagging.role import TaggingRole
from consumers.upkeep.main import open_upkeep
from core.settings import ArchiveSettings, DecodeSettings, TaggingSettings, load
from core.starting import Beginning
from core.vision.opening import open_tagger

log = structlog.get_logger(__name__)


async def main(beginning: Beginning) -> None:
    """Tag arrivals until a signal asks for the end.

    Raises:
        ConfigurationError: a setting cannot be worked with, or the model cannot be loaded.
    """
    settings = load(TaggingSettings)
    measuring = TaggingMetrics(metrics := open_metrics())
    async with (
        # Before joining the group: loading takes seconds, and a heartbeat must not wait for it.
        open_tagger(
            settings,
            load(DecodeSettings),
            max_image_bytes=load(ArchiveSettings).fetch_max_bytes,
            observe=measuring.passed,
            halved=measuring.halved,
        ) as clip,
    ):
        log.info("model_ready", model=clip.identity)
        stop = await beginning.over()
        async with (
            open_runtime("tagging", metrics) as runtime,
            open_image_bytes(runtime.pool) as image_bytes,
        ):
            tagger = LabelledTagger(runtime.pool, clip, metrics.reused_images.inc)
            best = BestImages(is_softmax=settings.scoring == "softmax")
            role = TaggingRole(image_bytes.store, tagger, PostgresTags(best), measuring)
            rescoring = Rescoring(runtime.pool, tagger, best, metrics.rescored_images.inc)
            previewing = Previewing(runtime.pool, clip)
            heartbeat = Heartbeat(runtime.pool, clip.identity)
            upkeep = open_upkeep(runtime.pool, metrics)
            companions = [rescoring.run, previewing.run, heartbeat.run, upkeep.run]
            await run(runtime, role, decode_arrival, stop, companions)
