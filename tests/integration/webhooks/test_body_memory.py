"""The memory that composing a body takes, compared with what the budget reserves for it."""

import hashlib
import tracemalloc
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from PIL import Image

from consumers.delivery.budget import Budget
from consumers.delivery.courier import PER_BYTE, WebhookCourier
from consumers.delivery.pictures import CopyCache, StoredPictures
from core.errors import PermanentError
from core.settings import MIB
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from core.webhooks.schedule import RetrySchedule
from core.webhooks.sender import WebhookSender
from tests.fakes.pictures import encoded
from tests.fakes.poster import RecordingPoster
from tests.unit.consumers.test_body_budget import Secrets, lease
from tests.unit.consumers.test_outgoing_pictures import World

SLACK_BYTES = 300_000  # a piece of base64, and everything beside the picture


class OneImage(World):
    """An image whose bytes are a new object for each read."""

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        assert isinstance(self.content, bytes)
        return [bytes(bytearray(self.content))]


def noise() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (1000, 1500, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=95)


@pytest.mark.parametrize("keep_exif", [False, True])
async def test_no_more_is_held_than_was_reserved(*, keep_exif: bool) -> None:
    content = noise()
    stored = OneImage(
        "file:p/1.jpg", hashlib.sha256(content).digest(), content=content, size_bytes=len(content)
    )
    poster, wanted = RecordingPoster(), lease(stored.image_id)
    async with DecodePool(PoolLimits(workers=1), PixelFormat(64, 64)) as decoder:
        courier = WebhookCourier(
            pictures=StoredPictures(
                stored, stored.read_all, decoder.outgoing_copy, 100 * MIB, keep_exif, CopyCache(0)
            ),
            secrets=Secrets().of,
            sender=WebhookSender(poster, timeout_s=5),
            schedule=RetrySchedule((0.0, 1.0), 0.0),
            link=str,
            budget=Budget(100 * MIB),
            chance=Random(1),
        )
        await courier.deliver(wanted)  # allocates what stays: imports, threads, the decoder
        tracemalloc.start()
        try:
            await courier.deliver(wanted)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert len(poster.posted[1].content) > len(content) * 4 / 3, "the picture went along"
    assert peak_bytes <= len(content) * PER_BYTE + SLACK_BYTES
