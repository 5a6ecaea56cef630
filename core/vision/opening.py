"""Open a tagger and its parts from the settings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.errors import PermanentError
from core.settings import DecodeSettings, TaggingSettings
from core.tags import Postponed
from core.vision.clip import BACKGROUND_PROMPTS, DEFAULT_TEMPLATES, ClipModel
from core.vision.decoding.decoder import DecodePool, pool_limits
from core.vision.decoding.pool.answers import Decoded
from core.vision.demo_card import is_demo, least_scores
from core.vision.engines.choosing import open_towers
from core.vision.tagger import ClipTagger, Observe, TaggerOptions
from core.vision.towers import is_out_of_memory

#: Bump when the pixels given for the same bytes change, or what is read beside them (sizes, EXIF
#: dates): embeddings are keyed by it, and the same bytes are not decoded twice.
PREPROCESSING_VERSIONS = {"exact": "exact-2", "fast": "fast-2"}
#: Source pixels behind one call of the model: a batch of small pictures waits no longer for large
#: ones than these take to decode.
BATCH_MAX_PIXELS = 400_000_000


@asynccontextmanager
async def open_model(
    settings: TaggingSettings, halved: Callable[[], object] = lambda: None
) -> AsyncIterator[ClipModel]:
    """Load the model that the settings name, for as long as the block runs.

    Args:
        settings: model, device, limits.
        halved: see `ClipModel`.

    Raises:
        ConfigurationError: it cannot be loaded; the message says what was tried.
    """
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clip")
    try:
        towers = await asyncio.get_running_loop().run_in_executor(
            executor, lambda: open_towers(settings)
        )
        yield ClipModel(
            towers,
            executor,
            max_batch=settings.batch_max_images,
            is_out_of_memory=is_out_of_memory,
            halved=halved,
        )
    finally:
        # Without waiting, a forward pass could outlive the event loop.
        await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Taggers:
    """Two taggers with one model between them.

    Attributes:
        ordinary: postpones pictures that exceed their share.
        patient: takes all, behind the others.
        apart: how many pictures `patient` decodes at once; the others wait.
    """

    ordinary: ClipTagger
    patient: ClipTagger
    apart: int


@dataclass(frozen=True, slots=True)
class _Soon:
    pool: DecodePool

    async def decode(self, data: bytes) -> Decoded | PermanentError | Postponed:
        return await self.pool.decode_soon(data)


@dataclass(frozen=True, slots=True)
class _Apart:
    pool: DecodePool

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        return await self.pool.decode_apart(data)


@asynccontextmanager
async def open_taggers(
    settings: TaggingSettings,
    decoding: DecodeSettings,
    *,
    max_image_bytes: int,
    observe: Observe = lambda _stage, _images, _seconds: None,
    halved: Callable[[], object] = lambda: None,
) -> AsyncIterator[Taggers]:
    """Load the model and start the decoders; yield taggers that lack only their labels.

    Args:
        settings: model, device, scoring.
        decoding: the decoder processes and their limits.
        max_image_bytes: larger files are refused unread.
        observe: see `ClipTagger`.
        halved: is called, on the model's thread, when a batch did not fit into memory.

    Raises:
        ConfigurationError: the model cannot be loaded, or the decoders cannot start.
    """
    async with open_model(settings, halved) as model:
        form = model.pixel_format(fast=settings.preprocess == "fast")
        limits = pool_limits(decoding, max_image_bytes)
        async with DecodePool(limits, form) as pool:
            options = TaggerOptions(
                scoring=settings.scoring,
                top_k=settings.top_k,
                batch_max_images=settings.batch_max_images,
                batch_max_pixels=BATCH_MAX_PIXELS,
                preprocessing=PREPROCESSING_VERSIONS[settings.preprocess],
                templates=DEFAULT_TEMPLATES,
                background=BACKGROUND_PROMPTS,
                least=least_scores() if is_demo(model.identity) else {},
            )
            yield Taggers(
                ClipTagger(_Soon(pool), model, options, observe),
                ClipTagger(_Apart(pool), model, options),
                limits.apart,
            )
