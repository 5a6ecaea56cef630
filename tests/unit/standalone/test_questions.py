"""What the demo asks and says."""

from pathlib import Path
from typing import Any

import pytest

from standalone.demo.questions import OF_FREE_PHOTOS, about, skipped, verdict
from standalone.demo.receiver import Callback

LABELS = [
    {"name": "beach", "aliases": ["seaside", "пляж"]},
    {"name": "cat", "aliases": ["кошка"]},
    {"name": "barn", "aliases": []},
]


def image(*tags: str) -> dict[str, Any]:
    return {"tags": [{"tag": tag, "score": 0.9} for tag in tags]}


def came(kind: str | None) -> Callback | None:
    return None if kind is None else Callback("id", {"type": f"query.{kind}"}, Path())


def test_photos_of_ones_own_are_asked_for_by_what_most_of_them_show() -> None:
    images = [image("cat"), image("beach", "cat"), image("beach"), {"tags": None}]

    assert about(images, LABELS) == [
        "We are looking for a picture of beach",
        "Покажите, пожалуйста: кошка",
    ]


def test_a_tag_without_a_russian_word_is_asked_for_in_english() -> None:
    assert about([image("barn")], LABELS) == [
        "We are looking for a picture of barn",
        "Show me a picture of barn",
    ]
    assert about([image()], LABELS) == list(OF_FREE_PHOTOS)


@pytest.mark.parametrize(
    ("tagged", "kinds", "worked", "words"),
    [
        (3, ("completed", "completed"), True, "it worked"),
        (3, ("completed", "no_match"), True, "it worked; 1 of 2 questions found a photo"),
        (3, ("no_match", "no_match"), False, "none of them answers a question"),
        (3, ("completed", None), False, "1 of 2 questions got no callback"),
        (3, ("failed", "completed"), False, "1 of 2 answers failed"),
        (0, ("no_match", "no_match"), False, "no photo was tagged"),
    ],
)
def test_it_worked_only_where_a_question_was_answered(
    tagged: int, kinds: tuple[str | None, ...], *, worked: bool, words: str
) -> None:
    said = verdict(tagged, [came(kind) for kind in kinds])

    assert said[0] is worked
    assert words in said[1]


def test_what_was_skipped_is_told_with_its_reason() -> None:
    assert skipped({"raw": 2, "video": 5, "path_too_long": 1}) == "5 video, 2 raw, 1 path too long"
    assert not skipped({})
