"""From settings to a tagger with everything open behind it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from core.settings import DecodeSettings, TaggingSettings
from core.vision.clip import BACKGROUND_PROMPTS, DEFAULT_TEMPLATES, open_model
from core.vision.decoding.decoder import DecodePool, pool_limits
from core.vision.tagger import ClipTagger, Observe, TaggerOptions

#: Bump when the pixels given for the same bytes change, or what is read beside them (sizes, EXIF
#: dates): embeddings are keyed by it, and the same bytes are not decoded twice.
PREPROCESSING_VERSIONS = {"exact": "exact-1", "fast": "fast-1"}
#: Source pixels behind one call of the model: a batch of small pictures waits no longer for large
#: ones than these take to decode.
BATCH_MAX_PIXELS = 400_000_000


@asynccontextmanager
async def open_tagger(
    settings: TaggingSettings,
    decoding: DecodeSettings,
    *,
    max_image_bytes: int,
    observe: Observe = lambda _stage, _images, _seconds: None,
    halved: Callable[[], object] = lambda: None,
) -> AsyncIterator[ClipTagger]:
    """Load the model, start the decoders, and give a tagger that lacks only its labels.

    Args:
        settings: model, device, scoring.
        decoding: the decoder processes and their limits.
        max_image_bytes: larger files are refused unread.
        observe: see `ClipTagger`.
        halved: told, on the model's thread, when a batch did not fit into memory.

    Raises:
        ConfigurationError: the model cannot be loaded, or the decoders cannot start.
    """
    async with open_model(settings, halved) as model:
        form = model.pixel_format(fast=settings.preprocess == "fast")
        async with DecodePool(pool_limits(decoding, max_image_bytes), form) as pool:
            options = TaggerOptions(
                scoring=settings.scoring,
                top_k=settings.top_k,
                batch_max_images=settings.batch_max_images,
                batch_max_pixels=BATCH_MAX_PIXELS,
                preprocessing=PREPROCESSING_VERSIONS[settings.preprocess],
                templates=DEFAULT_TEMPLATES,
                background=BACKGROUND_PROMPTS,
            )
            yield ClipTagger(pool, model, options, observe)
