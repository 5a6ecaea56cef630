"""Names that people type for labels, by the table that the package has (real lemmas)."""

from itertools import product

import pytest

from core.relevance.defaults import DEFAULT_LABELS
from core.relevance.familiar import FamiliarNames
from core.relevance.matching import LabelIndex, content_words, missing_aliases
from core.tags import Label
from tests.unit.language.loaded import lemmatizer

TABLE = FamiliarNames.load()
#: Conflated by the English table of lemmas; where both are labels an exception separates them.
CONFLATED = {frozenset({"fish", "fishing"})}


def index_of(*labels: str | Label) -> LabelIndex:
    made = [Label(one) if isinstance(one, str) else one for one in labels]
    return TABLE.index(made, lemmatizer().lemmatize)


def named(query: str, index: LabelIndex) -> list[str]:
    return [found.label.name for found in index.match(lemmatizer().lemmatize(query))]


DEFAULTS = index_of(*DEFAULT_LABELS)


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("puppy", ["dog"]),
        ("two puppies and a doggie", ["dog"]),
        ("щенки и собачка", ["dog"]),
        ("kitten", ["cat"]),
        ("kitties", ["cat"]),
        ("котики", ["cat"]),
        ("машинка", ["car"]),
        ("automobiles", ["car"]),
        ("kids at the seaside", ["beach", "children"]),
        ("малыши", ["children"]),
        ("babies", ["children"]),
        ("soldiers", ["military"]),
        ("солдаты", ["military"]),
        ("breakfast", ["food"]),
        ("вкусняшки", ["food"]),
        ("a birthday", ["party"]),
        ("день рождения", ["party"]),
        ("парад Победы", ["Victory Day"]),
        ("the 9th of May", ["Victory Day"]),
        ("scenery", ["landscape"]),
        ("holidays", ["celebration"]),
        ("городок", ["city"]),
        ("pizza", []),
        ("have a good day", []),
    ],
)
def test_the_default_labels_answer_to_what_people_type(query: str, labels: list[str]) -> None:
    assert named(query, DEFAULTS) == labels


@pytest.mark.parametrize(
    ("label", "query"),
    [
        ("ship", "кораблики"),
        ("Ships", "кораблик"),
        ("корабль", "steamers"),
        ("horse", "foals"),
        ("horse", "жеребёнок"),
        ("жеребёнок", "foal"),
        ("rabbit", "bunnies"),
        ("rabbit", "зайка"),
        ("tree", "деревце"),
        ("flower", "цветочки"),
        ("bicycle", "bikes"),
        ("bicycle", "велик"),
        ("airplane", "самолётик"),
        ("ice cream", "мороженое"),
        ("hot-dog", "хот дог"),
        ("Мороженое", "ice creams"),
        ("people", "человек"),
        ("grandmother", "granny"),
        ("berries", "ягодки"),
    ],
)
def test_any_label_answers_to_the_names_of_what_it_names(label: str, query: str) -> None:
    assert named(query, index_of(label)) == [label]


def test_a_name_is_not_lent_to_a_kind_of_it() -> None:
    index = index_of("puppy")

    assert named("щенок", index) == ["puppy"]
    assert named("dog", index) == named("собака", index) == []


def test_a_label_of_its_own_has_its_names_for_itself() -> None:
    index = index_of("dog", "puppy")

    assert named("puppy", index) == named("щеночек", index) == named("pups", index) == ["puppy"]
    assert named("собачка", index) == ["dog"]
    assert named("собака со щенком", index) == ["dog", "puppy"]


@pytest.mark.parametrize("other", [Label("kitten"), Label("pets", aliases=("kitten",))])
def test_what_people_named_a_label_goes_before_the_table(other: Label) -> None:
    assert named("kitten", index_of("cat", other)) == [other.name]


def test_a_name_of_two_words_is_not_taken_by_a_label_of_one_of_them() -> None:
    assert named("мороженое", index_of("ice cream", "ice")) == ["ice cream"]
    assert named("gelato", index_of("ice", "мороженое")) == ["мороженое"]
    assert named("ice cream", index_of("ice", "мороженое")) == ["ice", "мороженое"]


def test_of_two_words_for_one_thing_the_first_label_has_the_names() -> None:
    index = index_of("car", "automobile")

    assert named("машина", index) == ["car"]
    assert named("automobile", index) == ["automobile"]


def test_a_label_counts_once_however_many_of_its_names_are_typed() -> None:
    assert named("kitten kitty cat кошка котёнок котики", DEFAULTS) == ["cat"]


def test_a_label_with_a_name_in_the_other_language_needs_no_alias() -> None:
    index = index_of("rabbit", "кораблик", "zzz")

    assert [label.name for label in missing_aliases(index.labels)] == ["zzz"]


def test_labels_keep_their_order_ids_and_names() -> None:
    labels = [Label("zzz", id=3), Label("dog", aliases=("rex",), id=1)]

    index = index_of(*labels)

    assert [(one.name, one.id) for one in index.labels] == [("zzz", 3), ("dog", 1)]
    assert index.labels[0].aliases == ()
    assert index.labels[1].aliases[:3] == ("rex", "doggy", "doggie")


def test_each_name_stands_in_the_table_once_whatever_its_form() -> None:
    owners: dict[frozenset[str], set[str]] = {}
    for line in TABLE.lines:
        for part in line:
            for name in part:
                words = content_words(lemmatizer().lemmatize(name))
                for reading in product(*(word.lemmas for word in words)):
                    owners.setdefault(frozenset(reading), set()).add(part[0])

    assert {frozenset(one) for one in owners.values() if len(one) > 1} == CONFLATED


def test_every_part_of_the_table_has_names_that_label_and_query_find() -> None:
    for line in TABLE.lines:
        for part in line:
            for label in part:
                for query in part:
                    assert named(query, index_of(label)) == [label]


def test_the_table_serves_both_languages() -> None:
    def is_russian(name: str) -> bool:
        return any("а" <= letter <= "я" or letter == "ё" for letter in name)

    for line in TABLE.lines:
        names = [name for part in line for name in part]
        assert {is_russian(name) for name in names} == {True, False}, line
