"""Names of labels that look the same are one."""

import json
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.image import ImageArrived
from schemas.labels import MAX_TAUGHT, LabelSetText, LabelText
from schemas.names import distinct, fold
from schemas.strict import LabelName

SAME = [
    ("cat", "Cat"),
    ("cat", "CAT"),
    ("cat", "cat "),
    ("cat", "\tcat\n"),
    ("Victory Day", "victory  day"),
    ("Victory Day", "Victory\u00a0Day"),
    ("cat", "ｃａｔ"),
    ("fish", "ﬁsh"),
    ("Straße", "STRASSE"),
    ("café", "cafe\u0301"),
    ("cat", "ca\u200bt"),
    ("cat", "c\u00adat"),
    ("кот", "КОТ"),
]
OTHER = [("cat", "саt"), ("cat", "cats"), ("cafe", "café"), ("a b", "ab"), ("ёлка", "елка")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_names_that_look_the_same_are_one(one: str, other: str) -> None:
    assert fold(one) == fold(other)
    assert distinct([one, other]) == (one,)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_names_that_say_something_else_are_two(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_labels_that_look_the_same_are_refused_as_twice(one: str, other: str) -> None:
    with pytest.raises(ValidationError, match="stands twice"):
        LabelSetText.model_validate({"labels": [{"name": one}, {"name": other}]})
    with pytest.raises(ValidationError, match="stands twice"):
        LabelText.model_validate({"name": one, "aliases": [other]})


@pytest.mark.parametrize(("one", "other"), SAME)
def test_in_an_event_they_are_one_label(one: str, other: str) -> None:
    event = ImageArrived(uri="file:p/1.jpg", labels=(one, "dog", other))

    assert event.labels is not None
    assert [fold(name) for name in event.labels] == [fold(one), "dog"]


def test_a_name_is_kept_without_blanks_around_it() -> None:
    assert TypeAdapter(LabelName).validate_python("  Victory \n Day ") == "Victory Day"


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u00ad\u200d"])
def test_a_name_of_nothing_that_is_seen_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(LabelName).validate_python(name)


def test_a_template_has_a_place_for_the_name() -> None:
    with pytest.raises(ValidationError, match="template 'a photo of a cat' has no"):
        LabelText(name="cat", templates=("a {}", "a photo of a cat"))


def test_so_many_labels_and_no_more_are_taught_by_photos() -> None:
    photos = [str(UUID(int=number)) for number in range(3)]
    given = [{"name": f"label {number}", "photos": photos} for number in range(MAX_TAUGHT + 1)]

    LabelSetText.model_validate_json(json.dumps({"labels": given[1:]}))
    with pytest.raises(ValidationError, match="at most 1000"):
        LabelSetText.model_validate_json(json.dumps({"labels": given}))
