"""The labels that a query names, with words built by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.relevance.matching import LabelIndex, content_words, missing_aliases
from core.tags import Label
from tests.unit.relevance.words import words_of

CAT = Label("cat", aliases=("кошка",))
VICTORY_DAY = Label("Victory Day", aliases=("День Победы", "9 мая"))
DEAD = Label("Day of the Dead")
LEAF = Label("leaf")
LEAVE = Label("leave")
LABELS = (CAT, VICTORY_DAY, DEAD, LEAF, LEAVE)
INDEX = LabelIndex.build(LABELS, words_of)


def named(query: str, index: LabelIndex = INDEX) -> dict[str, tuple[str, ...]]:
    return {match.label.name: match.words for match in index.match(words_of(query))}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("cats", {"cat": ("cats",)}),
        ("cat cats Cat кошка", {"cat": ("cat", "cats", "кошка")}),
        ("Victory Day", {"Victory Day": ("victory", "day")}),
        ("day after victory", {"Victory Day": ("day", "victory")}),
        ("a day at the beach", {}),
        ("victory", {}),
        ("9", {}),
        ("9 мая", {"Victory Day": ("9", "мая")}),
        ("день победы 9 мая", {"Victory Day": ("день", "победы", "9", "мая")}),
        ("день мая", {}),
        ("dead day", {"Day of the Dead": ("dead", "day")}),
        ("of the", {}),
        ("leaves", {"leaf": ("leaves",), "leave": ("leaves",)}),
        ("", {}),
    ],
)
def test_a_query_names_labels_by_all_content_words_of_one_name(
    query: str, expected: dict[str, tuple[str, ...]]
) -> None:
    assert named(query) == expected


def test_a_word_shared_by_two_labels_names_both_of_them() -> None:
    index = LabelIndex.build((Label("cat"), Label("cats"), Label("Cat food")), words_of)

    assert named("cat", index) == {"cat": ("cat",), "cats": ("cat",)}


def test_a_name_of_function_words_only_needs_all_of_them() -> None:
    index = LabelIndex.build((Label("The The"), Label("At the")), words_of)

    assert named("the", index) == {"The The": ("the",)}
    assert named("at the", index) == {"The The": ("the",), "At the": ("at", "the")}
    assert [word.text for word in content_words(words_of("at the"))] == ["at", "the"]


def test_labels_come_in_the_order_of_the_index() -> None:
    matches = INDEX.match(words_of("leaves dead day victory cat"))

    assert [match.label for match in matches] == [CAT, VICTORY_DAY, DEAD, LEAF, LEAVE]


def test_labels_that_no_query_can_name_are_told() -> None:
    index = LabelIndex.build((CAT, Label(" ")), words_of)

    assert index.unnamed == (Label(" "),)
    assert index.labels == (CAT, Label(" "))


def test_an_index_without_labels_matches_nothing() -> None:
    assert LabelIndex.build((), words_of).match(words_of("cat")) == ()


VOCABULARY = ["cat", "cats", "кошка", "victory", "day", "dead", "of", "9", "мая", "leaves", "x"]


@given(st.lists(st.sampled_from(VOCABULARY), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_words_does_not_matter(words: list[str], shuffling: random.Random) -> None:
    shuffled = list(words)
    shuffling.shuffle(shuffled)

    one, other = named(" ".join(words)), named(" ".join(shuffled))

    assert {name: set(found) for name, found in one.items()} == {
        name: set(found) for name, found in other.items()
    }


@given(st.lists(st.sampled_from(VOCABULARY), max_size=8))
def test_repeating_the_query_changes_nothing(words: list[str]) -> None:
    assert named(" ".join(words * 3)) == named(" ".join(words))


@given(
    st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3), max_size=8),
    st.lists(st.sampled_from("abcde"), max_size=6),
)
def test_a_match_is_what_going_through_all_labels_gives(
    names: list[list[str]], query: list[str]
) -> None:
    index = LabelIndex.build([Label(" ".join(name)) for name in names], words_of)

    expected = [
        Label(" ".join(name))
        for name in names
        if {word for word in name if word != "a"} <= set(query)
        and (set(name) != {"a"} or "a" in query)
    ]

    assert [match.label for match in index.match(words_of(" ".join(query)))] == expected


@pytest.mark.parametrize(
    ("label", "is_missing"),
    [
        (Label("cat"), True),
        (Label("кошка"), True),
        (Label("cat", aliases=("кошка",)), False),
        (Label("9", aliases=("2024",)), False),
        (Label("猫"), True),
        (Label("猫", aliases=("cat", "кошка")), False),
        (Label("iPhone фото"), False),
    ],
)
def test_labels_that_one_script_cannot_name_are_told(label: Label, is_missing: bool) -> None:  # noqa: FBT001
    assert missing_aliases([label]) == ((label,) if is_missing else ())
