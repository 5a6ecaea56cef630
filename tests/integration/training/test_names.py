"""Names, groups and labels of ImageNet's classes, and the kinds of pictures."""

from training.pictures import LabelledPicture
from training.words.names import LOOKALIKES, UNSURE, imagenet_kinds, kinds_of
from training.words.prompts import PICTURED, plural, wordings


def picture(
    source_class: str, labels: tuple[str, ...] = (), source: str = "tiny/1"
) -> LabelledPicture:
    return LabelledPicture("a.zip", "1.jpg", source, labels, source_class, "", ("thing",))


def test_the_groups_written_by_hand_name_the_classes_that_they_mean() -> None:
    kinds = {kind.names[0]: kind for kind in imagenet_kinds()}

    assert "bird" in kinds["robin"].groups
    assert "boat" in kinds["canoe"].groups
    assert "bridge" in kinds["suspension bridge"].groups
    assert "fruit" in kinds["strawberry"].groups
    assert "bird" not in kinds["airliner"].groups
    assert kinds["beagle"].labels == ("dog",)
    assert kinds["cab"].labels == ("car", "city")
    assert kinds["timber wolf"].labels is None  # may well pass for a dog
    assert kinds["suit"].labels == ()
    assert kinds["suit"].lookalike == "people"


def test_a_class_that_shows_a_label_is_no_lookalike_and_is_not_unsure() -> None:
    for kind in imagenet_kinds():
        assert not (kind.labels and kind.lookalike), kind.names
        assert not (kind.labels is None and kind.lookalike), kind.names


def test_no_class_shows_a_label_without_pictures() -> None:
    shown = {label for kind in imagenet_kinds() for label in kind.labels or ()}

    assert shown == set(PICTURED)
    assert UNSURE not in LOOKALIKES


def test_a_picture_shares_the_names_and_groups_of_its_class_in_imagenet() -> None:
    kinds = kinds_of([picture("goldfish"), picture("airplanes")])

    fish, plane = (kinds.kinds[at] for at in kinds.of_pictures)
    assert "Carassius auratus" in fish.names
    assert {"thing", "fish"} <= set(fish.groups)
    assert plane.names == ("airplane",)
    assert "aircraft" in plane.groups
    assert "thing" in kinds.kinds[1].groups  # what is said of the pictures holds for the class


def test_the_sport_cricket_is_no_insect() -> None:
    kinds = kinds_of([picture("cricket", ("sport",), "me/Sports-Type-Classifier/1.jpg")])

    assert kinds.kinds[kinds.of_pictures[0]].twin is None
    assert "insect" not in kinds.kinds[kinds.of_pictures[0]].groups


def test_names_are_worded_in_the_plural_too() -> None:
    assert [plural(one) for one in ("bird", "city", "bus", "bench", "toy", "Persian cat")] == [
        "birds", "cities", "bus", "benches", "toys", "Persian cat",
    ]  # fmt: skip
    assert "birds" in wordings("bird")
    assert len(set(map(len, (wordings("bird"), wordings("Persian cat"))))) == 1
