"""Bytes to tags, with doubles for the decoder and the model."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import ConfigurationError, GpuOutOfMemory, ImageMissing, ImageUnreadable
from core.tags import Label, Tagged, TagRequest
from core.vision import scoring
from core.vision.tagger import ClipTagger, Result, TaggerOptions
from tests.fakes import pictures
from tests.fakes.vision import HashModel, MemoryDecoder

OPTIONS = TaggerOptions(
    scoring="softmax",
    top_k=2,
    batch_max_images=8,
    batch_max_pixels=10**9,
    preprocessing="exact-1",
    templates=("{}",),
    background=("a photo",),
)
LABELS = tuple(Label(name) for name in ("cat", "dog", "car", "landscape", "party"))


async def tagger(options: TaggerOptions = OPTIONS, model: HashModel | None = None) -> ClipTagger:
    one = ClipTagger(MemoryDecoder(), model or HashModel(), options)
    await one.use_labels(LABELS, 7)
    return one


def picture(seed: int) -> bytes:
    """Return bytes that the double accepts as a picture, all different."""
    return b"\x89PNG\r\n\x1a\n" + b"%d" % seed


def tagged(result: Result) -> Tagged:
    assert isinstance(result, Tagged), result
    return result


def wishes(count: int) -> list[TagRequest]:
    return [TagRequest()] * count


async def test_no_tag_lands_on_the_wrong_image_whatever_the_batches_and_the_bad_ones() -> None:
    random = Random(20261121)
    images = [picture(seed) for seed in range(200)]
    alone = await tagger(replace(OPTIONS, batch_max_images=1))
    expected = {
        image: tagged((await alone.tag_all([image], [TagRequest()]))[0]).tags for image in images
    }
    for _ in range(15):
        one = await tagger(replace(OPTIONS, batch_max_images=random.randint(1, 70)))
        mixed: list[bytes] = [*images, *([b"no picture"] * random.randint(0, 40))]
        random.shuffle(mixed)
        results = await one.tag_all(mixed, wishes(len(mixed)))
        for image, result in zip(mixed, results, strict=True):
            if image in expected:
                assert tagged(result).tags == expected[image]
                assert tagged(result).tags.sha256 == hashlib.sha256(image).digest()
            else:
                assert isinstance(result, ImageUnreadable)


async def test_an_error_given_is_the_error_returned_in_its_place() -> None:
    missing = ImageMissing("file:x/y.jpg")
    results = await (await tagger()).tag_all([picture(1), missing, picture(2)], wishes(3))
    assert results[1] is missing
    assert tagged(results[0]).tags.sha256 == hashlib.sha256(picture(1)).digest()
    assert tagged(results[2]).tags.sha256 == hashlib.sha256(picture(2)).digest()


async def test_a_batch_of_nothing_but_errors_never_reaches_the_model() -> None:
    model = HashModel()
    one = await tagger(model=model)
    results = await one.tag_all([b"", b"x", ImageMissing("gone")], wishes(3))
    assert [each.reason for each in results if isinstance(each, ImageUnreadable)] == [
        "empty",
        "not_an_image",
    ]
    assert model.batches == []
    assert await one.tag_all([], []) == []


async def test_tags_are_the_best_labels_by_softmax_over_the_stored_embedding() -> None:
    [result] = await (await tagger()).tag_all([picture(1)], [TagRequest(top_k=5)])
    tags = tagged(result).tags
    row = np.frombuffer(tags.embedding, "<f2").astype(np.float64)
    names = [label.name for label in LABELS]
    vectors = (await HashModel().text_features(LABELS, ())).astype(np.float64)
    logits = 20.0 * vectors @ row
    shares = np.exp(logits) / np.exp(logits).sum()
    expected = dict(zip(names, shares.tolist(), strict=True))
    assert {tag.tag: tag.confidence for tag in tags.tags} == pytest.approx(expected, abs=5.1e-7)
    assert tags.tags[0].tag == max(expected, key=expected.__getitem__)
    assert sum(tag.confidence for tag in tags.tags) == pytest.approx(1, abs=1e-5)


async def test_each_image_may_have_its_own_labels_and_number_of_tags() -> None:
    one = await tagger()
    own = TagRequest(labels=("bridge", "river", "river", "cat"), top_k=3)
    results = await one.tag_all(
        [picture(1), picture(1), picture(1)], [TagRequest(), own, TagRequest(top_k=1)]
    )
    default, special, short = map(tagged, results)
    assert {tag.tag for tag in special.tags.tags} == {"bridge", "river", "cat"}
    assert (special.label_version, special.top_k) == (None, 3)
    assert (default.label_version, len(default.tags.tags)) == (7, 2)
    assert (short.label_version, short.tags.tags) == (7, default.tags.tags[:1])
    assert default.tags.embedding == special.tags.embedding


async def test_more_tags_than_labels_are_cut_to_the_labels() -> None:
    [result] = await (await tagger()).tag_all([picture(1)], [TagRequest(("a", "b"), 9)])
    assert tagged(result).top_k == 2
    assert len(tagged(result).tags.tags) == 2


async def test_an_own_label_that_is_a_default_keeps_its_curated_prompts() -> None:
    model = PromptModel()
    one = ClipTagger(MemoryDecoder(), model, OPTIONS)
    await one.use_labels([Label("Victory Day", templates=("a parade",))], 1)
    model.seen.clear()
    await one.tag_all([picture(1)], [TagRequest(("Victory Day", "river"))])
    assert ("Victory Day", ("a parade",)) in model.seen
    assert ("river", ()) in model.seen


class PromptModel(HashModel):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        self.seen += [(label.name, label.templates) for label in labels]
        return await super().text_features(labels, templates)


async def test_stored_embeddings_give_the_very_same_tags_without_any_image() -> None:
    one = await tagger()
    given = [TagRequest(), TagRequest(("x", "y", "z")), TagRequest(top_k=4)] * 20
    results = await one.tag_all([picture(at) for at in range(60)], given)
    model = HashModel()
    again = await tagger(model=model)
    rescored = await again.score_embeddings(
        [tagged(each).tags.embedding for each in results], given
    )
    assert rescored == [(tagged(each).tags.tags, tagged(each).label_version) for each in results]
    assert model.batches == []


async def test_new_labels_take_over_in_one_step_and_work_under_way_keeps_the_old() -> None:
    model = HeldModel()
    one = await tagger(model=model)
    running = asyncio.create_task(one.tag_all([picture(at) for at in range(3)], wishes(3)))
    await model.reached.wait()
    await one.use_labels([Label("bridge"), Label("river")], 8)
    model.go_on.set()
    old = [tagged(each) for each in await running]
    new = [tagged(each) for each in await one.tag_all([picture(1)], wishes(1))]
    assert {each.label_version for each in old} == {7}
    assert {tag.tag for each in old for tag in each.tags.tags} <= {label.name for label in LABELS}
    assert {tag.tag for tag in new[0].tags.tags} == {"bridge", "river"}
    assert (new[0].label_version, one.label_version) == (8, 8)


class HeldModel(HashModel):
    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.reached.set()
        await self.go_on.wait()
        return await super().encode(batch)


class FullModel(HashModel):
    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise GpuOutOfMemory("full")


async def test_an_outage_of_the_model_is_raised_as_itself_and_leaves_no_task() -> None:
    one = await tagger(model=FullModel())
    before = asyncio.all_tasks()
    with pytest.raises(GpuOutOfMemory):
        await one.tag_all([picture(at) for at in range(50)], wishes(50))
    assert asyncio.all_tasks() == before


async def test_batches_keep_to_the_limits() -> None:
    model = HashModel()
    one = await tagger(replace(OPTIONS, batch_max_images=5), model)
    await one.tag_all([picture(at) for at in range(23)], wishes(23))
    assert max(model.batches) <= 5
    assert sum(model.batches) == 23


async def test_sigmoid_without_a_bias_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match="TAGGING_SCORING=sigmoid"):
        ClipTagger(MemoryDecoder(), HashModel(), replace(OPTIONS, scoring="sigmoid"))
    ClipTagger(MemoryDecoder(), HashModel(logit_bias=-10.0), replace(OPTIONS, scoring="sigmoid"))


async def test_threshold_may_give_no_tag_at_all() -> None:
    one = ClipTagger(MemoryDecoder(), HashModel(), replace(OPTIONS, scoring="threshold"))
    await one.use_labels([Label("cat", threshold=0.999)], 1)
    [result] = await one.tag_all([picture(1)], wishes(1))
    assert tagged(result).tags.tags == ()


async def test_tagging_before_any_labels_or_with_none_is_a_clear_error() -> None:
    one = ClipTagger(MemoryDecoder(), HashModel(), OPTIONS)
    with pytest.raises(ConfigurationError):
        await one.tag_all([pictures.jpeg(1)], wishes(1))
    with pytest.raises(ConfigurationError):
        await one.use_labels([], 1)


async def test_the_embedding_is_half_floats_of_unit_length() -> None:
    [result] = await (await tagger()).tag_all([picture(1)], wishes(1))
    row = scoring.restore([tagged(result).tags.embedding])
    assert row.shape == (1, 16)
    assert np.linalg.norm(row.astype(np.float64)) == pytest.approx(1, abs=1e-3)
