"""Labels that photos teach, beside labels of words."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

from core.tags import Label, Lesson, TagRequest
from core.vision.scoring import quantise
from core.vision.tagger import ClipTagger
from core.vision.teaching import LEAST_GROUND, SHARE_OF_PHOTOS, join, teach
from tests.fakes.vision import KindModel, MemoryDecoder
from tests.unit.vision.test_tagger import OPTIONS, picture

LABELS = tuple(Label(name) for name in ("cat", "dog", "car", "landscape", "party"))
IDS = tuple(UUID(int=number) for number in range(3))
DACHA = Label("our dacha", photos=IDS, by_words=False)
REQUEST = TagRequest()
PHOTOS = 400


async def embeddings(model: KindModel, seeds: range) -> tuple[list[bytes], list[int]]:
    """Return the embeddings of pictures, and their kinds."""
    contents = [picture(seed) for seed in seeds]
    decoded = [await MemoryDecoder().decode(content) for content in contents]
    pixels = np.stack([one.pixels for one in decoded if hasattr(one, "pixels")])
    rows = quantise(await model.encode(pixels))
    return [row.tobytes() for row in rows], [model.kind_of(content) for content in contents]


async def taught(label: Label, count: int = 5) -> tuple[list[str], list[float], list[int]]:
    """Return the first tags of pictures, their scores and the pictures' kinds; kind 0 teaches."""
    model = KindModel()
    clip = ClipTagger(MemoryDecoder(), model, OPTIONS)
    rows, kinds = await embeddings(model, range(PHOTOS))
    own = [row for row, kind in zip(rows, kinds, strict=True) if kind == 0][:count]
    others = [row for row in rows if row not in own]
    labels = [*LABELS, label]
    lessons = await clip.learn(labels, {label.name: own}, {label.name: others})
    found = await clip.score_under(labels, rows, [1] * len(rows), lessons)
    return [tags[0].tag for tags in found], [tags[0].confidence for tags in found], kinds


def shares(tags: Sequence[str], kinds: Sequence[int]) -> tuple[float, float]:
    """Return the share of the taught kind that has the label, and of all others."""
    of_kind = [tag == DACHA.name for tag, kind in zip(tags, kinds, strict=True) if kind == 0]
    of_others = [tag == DACHA.name for tag, kind in zip(tags, kinds, strict=True) if kind]
    return float(np.mean(of_kind)), float(np.mean(of_others))


@pytest.mark.parametrize("count", [3, 10])
async def test_photos_of_a_kind_get_the_label_and_hardly_any_others_do(count: int) -> None:
    tags, _, kinds = await taught(DACHA, count)

    right, wrong = shares(tags, kinds)
    assert right > 0.8
    assert wrong < 0.15


async def test_the_plain_mean_would_have_been_the_best_tag_of_every_photo() -> None:
    model = KindModel()
    rows, kinds = await embeddings(model, range(PHOTOS))
    own = np.stack([np.frombuffer(row, "<f2") for row in rows]).astype(float)
    mean = own[[at for at, kind in enumerate(kinds) if kind == 0][:5]].mean(axis=0)
    texts = await model.text_features(LABELS, ("{}",))

    is_best = own @ (mean / np.linalg.norm(mean)) > (own @ texts.T.astype(float)).max(axis=1)

    assert is_best.mean() > 0.9  # else the tests above would not show that this was mended


async def test_over_the_archive_the_label_scores_as_labels_of_words_do() -> None:
    model = KindModel()
    rows, kinds = await embeddings(model, range(PHOTOS))
    own = [row for row, kind in zip(rows, kinds, strict=True) if kind == 0][:5]
    others = [row for row in rows if row not in own]
    texts = (await model.text_features(LABELS, ("{}",))).astype(float)

    vector, offset = join(texts[0], teach(own, others, texts), by_words=False)

    over = np.stack([np.frombuffer(row, "<f2") for row in others]).astype(float)
    cosines, alike = over @ texts.T, over @ vector + offset
    assert alike.mean() == pytest.approx(cosines.mean())
    assert alike.std() == pytest.approx(cosines.std(axis=0).mean())


def test_words_and_photos_are_blended_and_words_alone_stay_what_they_are() -> None:
    words, photos = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    lesson = Lesson(3, 0, quantise(photos[None].astype(np.float32)).tobytes(), 2.0, -0.5)

    assert _told(join(words, None, by_words=True)) == ([1, 0], 0)
    assert _told(join(words, Lesson(0, 3), by_words=True)) == ([1, 0], 0)
    vector, offset = join(words, lesson, by_words=True)
    assert vector.tolist() == [1 - SHARE_OF_PHOTOS, 2 * SHARE_OF_PHOTOS]
    assert offset == -0.5 * SHARE_OF_PHOTOS
    assert _told(join(words, lesson, by_words=False)) == ([0, 2], -0.5)


@pytest.mark.parametrize("lesson", [None, Lesson(0, 3)])
def test_without_words_a_label_that_has_learnt_nothing_waits(lesson: Lesson | None) -> None:
    assert np.isnan(join(np.array([1.0, 0.0]), lesson, by_words=False)[1])


async def test_in_an_archive_of_a_few_photos_a_label_waits_for_so_many_more() -> None:
    model = KindModel()
    rows, _ = await embeddings(model, range(LEAST_GROUND + 4))
    texts = (await model.text_features(LABELS, ("{}",))).astype(float)

    lesson = teach(rows[:5], rows[5:], texts)

    assert (lesson.photos, lesson.awaited, lesson.direction) == (5, 1, None)


async def test_photos_like_all_others_teach_a_label_that_is_sure_of_nothing() -> None:
    model = KindModel()
    rows, _ = await embeddings(model, range(1))
    texts = (await model.text_features(LABELS, ("{}",))).astype(float)

    vector, offset = join(texts[0], teach(rows * 3, rows * 30, texts), by_words=False)

    assert np.abs(vector).max() == 0
    assert offset == pytest.approx(float((_matrix(rows) @ texts.T).mean()))


async def test_a_picture_gets_the_same_tags_when_it_is_tagged_and_when_it_is_scored_again() -> None:
    model = KindModel()
    clip = ClipTagger(MemoryDecoder(), model, OPTIONS)
    rows, _ = await embeddings(model, range(60))
    labels = [*LABELS, Label("our dacha", photos=IDS)]
    lessons = await clip.learn(labels, {"our dacha": rows[:4]}, {"our dacha": rows[4:]})
    await clip.use_labels(labels, 1, lessons)

    tagged = [tags for tags, _ in await clip.score_embeddings(rows, [REQUEST] * len(rows))]

    assert tagged == await clip.score_under(labels, rows, [2] * len(rows), lessons)
    assert any(tags[0].tag == "our dacha" for tags in tagged)


def _told(joined: tuple[NDArray[np.float64], float]) -> tuple[list[float], float]:
    return joined[0].tolist(), joined[1]


def _matrix(rows: Sequence[bytes]) -> NDArray[np.float64]:
    return np.stack([np.frombuffer(row, "<f2") for row in rows]).astype(np.float64)
