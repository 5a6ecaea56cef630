"""Real decoders and a real (tiny, random) model together."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import pytest

from core.errors import ImageUnreadable, PermanentError
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DecodeSettings, TaggingSettings
from core.tags import Label, Postponed, Tagged, TagRequest, TagScore
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.pool.answers import Decoded
from core.vision.decoding.worker_process import PoolLimits
from core.vision.demo_card import least_scores, seen_labels
from core.vision.opening import open_taggers
from core.vision.ports import Decoder
from core.vision.scoring import quantise
from core.vision.tagger import ClipTagger
from tests.fakes import pictures
from tests.fakes.vision import MemoryDecoder
from tests.integration.vision import tiny

PHOTOS = Path(__file__).parents[3] / "../shared/data/photos-demo"
LABELS = tuple(Label(name) for name in ("cat", "dog", "car", "landscape", "party"))


@pytest.fixture(scope="module")
async def tagger(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClipTagger]:
    settings = TaggingSettings(
        model=tiny.save_model(tmp_path_factory.mktemp("models") / "tiny"),
        device="cpu",
        precision="fp32",
        batch_max_images=32,
    )
    decoding = DecodeSettings(timeout_s=2, workers=2)
    async with open_taggers(settings, decoding, max_image_bytes=10_000_000) as both:
        await both.ordinary.use_labels(LABELS, 1)
        yield both.ordinary


def cosine(one: Tagged, other: Tagged) -> float:
    rows = [np.frombuffer(each.tags.embedding, "<f2").astype(float) for each in (one, other)]
    return float(rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1]))


async def test_two_hundred_photos_in_random_batches_each_get_their_own_vector(
    tagger: ClipTagger,
) -> None:
    random = Random(20261121)
    photos = [pictures.jpeg(seed, (90 + seed % 50, 80)) for seed in range(200)]
    alone = {data: (await tagger.tag_all([data], [TagRequest()]))[0] for data in photos}
    for _ in range(3):
        order = random.sample(photos, len(photos))
        at = 0
        while at < len(order):
            batch = order[at : at + random.randint(1, 90)]
            at += len(batch)
            results = await tagger.tag_all(batch, [TagRequest()] * len(batch))
            for data, result in zip(batch, results, strict=True):
                expected = alone[data]
                assert isinstance(result, Tagged)
                assert isinstance(expected, Tagged)
                assert result.tags.sha256 == hashlib.sha256(data).digest()
                assert cosine(result, expected) > 0.99999


async def test_one_slow_picture_and_one_broken_one_cost_nobody_else(tagger: ClipTagger) -> None:
    images: list[bytes | PermanentError | Postponed] = [pictures.jpeg(seed) for seed in range(12)]
    images[3] = pictures.endless_jpeg()
    images[7] = pictures.jpeg(7)[:2000]
    results = await tagger.tag_all(images, [TagRequest()] * 12)
    reasons = {
        at: each.reason for at, each in enumerate(results) if isinstance(each, ImageUnreadable)
    }
    assert reasons == {7: "truncated"}
    assert isinstance(results[3], Postponed)
    assert sum(isinstance(each, Tagged) for each in results) == 10


async def test_fifty_callers_at_once_each_get_their_own_tags(tagger: ClipTagger) -> None:
    photos = [pictures.jpeg(seed, (120, 100)) for seed in range(50)]
    results = await asyncio.gather(*(tagger.tag_all([data], [TagRequest()]) for data in photos))
    for data, [result] in zip(photos, results, strict=True):
        assert isinstance(result, Tagged)
        assert result.tags.sha256 == hashlib.sha256(data).digest()


async def test_stored_embeddings_give_the_very_same_tags(tagger: ClipTagger) -> None:
    results = await tagger.tag_all([pictures.jpeg(seed) for seed in range(40)], [TagRequest()] * 40)
    tagged = [each for each in results if isinstance(each, Tagged)]
    again = await tagger.score_embeddings(
        [each.tags.embedding for each in tagged], [TagRequest()] * 40
    )
    assert [tags for tags, _ in again] == [each.tags.tags for each in tagged]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the shared data set is not here")
async def test_fast_decoding_keeps_the_vectors_and_the_best_tags_of_real_photos() -> None:
    """A faster path keeps a cosine of 0.995, and 99 % of best tags the same."""
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    found: list[list[Tagged]] = []
    ways: tuple[Literal["exact", "fast"], ...] = ("exact", "fast")
    for preprocess in ways:
        settings = TaggingSettings(
            model="demo", device="cpu", precision="fp32", preprocess=preprocess
        )
        async with open_taggers(settings, DecodeSettings(), max_image_bytes=10_000_000) as both:
            await both.ordinary.use_labels(DEFAULT_LABELS, 1)
            results = await both.ordinary.tag_all(photos, [TagRequest()] * len(photos))
        found.append([each for each in results if isinstance(each, Tagged)])
    pairs = list(zip(*found, strict=True))
    assert len(pairs) == len(photos) >= 50
    assert min(cosine(exact, fast) for exact, fast in pairs) > 0.995
    same = sum(exact.tags.tags[0].tag == fast.tags.tags[0].tag for exact, fast in pairs)
    assert same >= 0.99 * len(pairs)


class DecoderContract:
    """The contract of the tagger's decoder, for the real pool and the double."""

    async def test_a_picture_is_square_pixels_and_the_hash_of_its_bytes(
        self, decoder: Decoder
    ) -> None:
        data = pictures.jpeg(1)
        result = await decoder.decode(data)
        assert isinstance(result, Decoded)
        assert result.pixels.dtype == np.uint8
        assert result.pixels.shape[2] == 3
        assert result.sha256 == hashlib.sha256(data).digest()
        assert result.media_type == "image/jpeg"

    async def test_unlike_pictures_have_unlike_pixels(self, decoder: Decoder) -> None:
        one, other = [await decoder.decode(pictures.jpeg(seed)) for seed in (1, 2)]
        assert isinstance(one, Decoded)
        assert isinstance(other, Decoded)
        assert not np.array_equal(one.pixels, other.pixels)

    @pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"text", "not_an_image")])
    async def test_what_is_no_picture_is_a_value_with_a_reason(
        self, decoder: Decoder, data: bytes, reason: str
    ) -> None:
        result = await decoder.decode(data)
        assert isinstance(result, ImageUnreadable)
        assert result.reason == reason


class TestDecodePool(DecoderContract):
    @pytest.fixture
    async def decoder(self) -> AsyncIterator[Decoder]:
        async with DecodePool(PoolLimits(workers=1)) as pool:
            yield pool


class TestMemoryDecoder(DecoderContract):
    @pytest.fixture
    def decoder(self) -> Decoder:
        return MemoryDecoder()


async def tags_by_threshold(model: str, dim: int) -> list[TagScore]:
    """Return all tags that random directions get by `threshold`."""
    drawn = np.random.default_rng(1).normal(size=(500, dim))
    rows = quantise((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32))
    settings = TaggingSettings(model=model, device="cpu", precision="fp32", scoring="threshold")
    async with open_taggers(settings, DecodeSettings(workers=1), max_image_bytes=1000) as both:
        found = await both.ordinary.score_under(
            DEFAULT_LABELS, [row.tobytes() for row in rows], [len(DEFAULT_LABELS)] * len(rows)
        )
    return [tag for tags in found for tag in tags]


# What beats all three background prompts has at least a quarter of the softmax over the four.
BESIDE_THE_BACKGROUND = 0.25


async def test_the_bundled_model_gives_labels_that_it_was_shown_from_their_least_score_on() -> None:
    tags = await tags_by_threshold("demo", 192)
    scores = [tag.confidence for tag in tags if tag.tag in seen_labels()]

    assert min(least_scores().values()) <= min(scores) < BESIDE_THE_BACKGROUND


async def test_a_label_that_it_was_never_shown_must_beat_the_background() -> None:
    tags = await tags_by_threshold("demo", 192)
    scores = [tag.confidence for tag in tags if tag.tag not in seen_labels()]

    assert min(scores, default=1.0) >= BESIDE_THE_BACKGROUND


async def test_any_other_model_gives_labels_that_beat_the_background(tmp_path: Path) -> None:
    tags = await tags_by_threshold(tiny.save_model(tmp_path / "tiny"), 32)

    assert min(tag.confidence for tag in tags) >= BESIDE_THE_BACKGROUND
