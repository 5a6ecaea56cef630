"""Queries of both languages against the labels that an archive starts with (real lemmas)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.relevance.defaults import DEFAULT_LABELS
from core.relevance.familiar import FamiliarNames
from core.relevance.matching import missing_aliases
from core.tags import Label
from tests.unit.language.loaded import lemmatizer

INDEX = FamiliarNames.load().index(DEFAULT_LABELS, lemmatizer().lemmatize)


def named(query: str) -> dict[str, tuple[str, ...]]:
    return {m.label.name: m.words for m in INDEX.match(lemmatizer().lemmatize(query))}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("кошки on the beaches", {"cat": ("кошки",), "beach": ("beaches",)}),
        ("ДЕНЬ ПОБЕДЫ", {"Victory Day": ("день", "победы")}),
        ("фото на день победы", {"Victory Day": ("день", "победы")}),
        ("a day at the beach", {"beach": ("beach",)}),
        ("Victory-Day", {"Victory Day": ("victory", "day")}),
        ("victory_days", {"Victory Day": ("victory", "days")}),
        ("the day of victory", {"Victory Day": ("day", "victory")}),
        ("victory", {}),
        ("9-мая", {"Victory Day": ("9", "мая")}),
        ("9 мая", {"Victory Day": ("9", "мая")}),
        ("парад 9 МАЯ в городе", {"city": ("городе",), "Victory Day": ("9", "мая")}),
        ("10 мая", {}),
        ("cat cats Cat кошка КОТЫ", {"cat": ("cat", "cats", "кошка", "коты")}),
        ("children’s party", {"party": ("party",), "children": ("children",)}),
        ("дети и собаки", {"dog": ("собаки",), "children": ("дети",)}),
        ("child with a puppy", {"dog": ("puppy",), "children": ("child",)}),
        ("ребёнка с котёнком", {"cat": ("котёнком",), "children": ("ребёнка",)}),
        ("ребенка с котенком", {"cat": ("котенком",), "children": ("ребенка",)}),
        ("ветеранов на празднике", {"veterans": ("ветеранов",), "celebration": ("празднике",)}),
        ("военные машины", {"car": ("машины",), "military": ("военные",)}),
        ("sports celebrations", {"sport": ("sports",), "celebration": ("celebrations",)}),
        ("CARS,PARTIES;cities/foods", {
            "car": ("cars",), "party": ("parties",), "food": ("foods",), "city": ("cities",),
        }),
        ("the of and в на", {}),
        ("🐱", {}),
        ("\u200fcat\u200e", {"cat": ("cat",)}),
        ("cat\x00dog", {"cat": ("cat",), "dog": ("dog",)}),
    ],
)  # fmt: skip
def test_a_query_names_the_default_labels_it_means(
    query: str, expected: dict[str, tuple[str, ...]]
) -> None:
    assert named(query) == expected


@pytest.mark.parametrize("label", DEFAULT_LABELS, ids=lambda label: label.name)
def test_every_name_of_a_default_label_names_it_alone(label: Label) -> None:
    for name in (label.name, *label.aliases, label.name.upper()):
        assert list(named(name)) == [label.name]


def test_the_fourteen_labels_are_there_and_named_in_both_scripts() -> None:
    names = "cat dog car landscape party food beach city children sport veterans celebration"

    assert {label.name for label in DEFAULT_LABELS} == {*names.split(), "Victory Day", "military"}
    assert missing_aliases(DEFAULT_LABELS) == ()
    assert INDEX.unnamed == ()


def test_every_prompt_holds_the_name() -> None:
    assert all(template.count("{}") == 1 for one in DEFAULT_LABELS for template in one.templates)


@given(st.text(max_size=100))
def test_any_text_may_be_asked(text: str) -> None:
    assert set(named(text)) <= {label.name for label in DEFAULT_LABELS}
