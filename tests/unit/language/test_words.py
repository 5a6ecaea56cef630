"""Forms find their base form. The frozen lists are a measure; of the tuned ones all must pass."""

import pytest

from tests.unit.language import frozen_words, tuned_words, unseen_words
from tests.unit.language.loaded import lemmas, pairs


@pytest.mark.parametrize(("form", "base"), pairs(tuned_words.ENGLISH + tuned_words.RUSSIAN))
def test_a_form_meets_its_base_form(form: str, base: str) -> None:
    assert lemmas(form) & lemmas(base)


@pytest.mark.parametrize(
    ("one", "other"), pairs(tuned_words.ENGLISH_APART + tuned_words.RUSSIAN_APART)
)
def test_unlike_words_stay_apart(one: str, other: str) -> None:
    assert not lemmas(one) & lemmas(other)


@pytest.mark.parametrize(
    ("words", "least"),
    [
        pytest.param(frozen_words.ENGLISH, 0.99, id="English, seen once"),
        pytest.param(frozen_words.ENGLISH_HELD_OUT, 0.99, id="English, held out"),
        pytest.param(frozen_words.RUSSIAN, 0.99, id="Russian, never tuned"),
        pytest.param(unseen_words.ENGLISH, 0.97, id="English, written after the last rule"),
        pytest.param(unseen_words.RUSSIAN, 0.97, id="Russian, written after the last rule"),
    ],
)
def test_words_never_tuned_on_meet_their_base_forms(words: str, least: float) -> None:
    tried = pairs(words)
    missed = [(form, base) for form, base in tried if not lemmas(form) & lemmas(base)]

    assert len(tried) >= 50
    assert 1 - len(missed) / len(tried) >= least, missed


@pytest.mark.parametrize(
    "lists",
    [
        pytest.param(
            (frozen_words.ENGLISH, frozen_words.ENGLISH_HELD_OUT, unseen_words.ENGLISH),
            id="English",
        ),
        pytest.param((frozen_words.RUSSIAN, unseen_words.RUSSIAN), id="Russian"),
    ],
)
def test_each_language_is_measured_on_three_hundred_different_forms(lists: tuple[str, ...]) -> None:
    forms = [form for words in lists for form, _ in pairs(words)]

    assert len(forms) == len(set(forms)) >= 300


def test_words_never_tuned_on_stay_apart() -> None:
    tried = pairs(frozen_words.APART)

    assert [pair for pair in tried if lemmas(pair[0]) & lemmas(pair[1])] == []


def test_the_base_form_itself_is_among_the_lemmas_of_russian_words() -> None:
    wrong = [
        (form, base)
        for form, base in pairs(frozen_words.RUSSIAN)
        if base.replace("ё", "е") not in lemmas(form)
    ]

    assert wrong == []
