"""One spelling: what separates words, what disappears, what stays."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.language.normalisation import has_cyrillic, has_latin, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Victory-Day", "victory day"),
        ("Victory_Day", "victory day"),
        ("Victory–Day", "victory day"),
        ("9-мая", "9 мая"),
        ("ДЕНЬ  ПОБЕДЫ\t", "день победы"),
        ("cat’s", "cat's"),
        ("dogs' 'quoted'", "dogs quoted"),
        ("ко\u0301шка", "кошка"),
        ("за\u0301мок", "замок"),
        ("и\u0306", "й"),
        ("е\u0308лка", "ёлка"),
        ("cafe\u0301", "café"),
        ("Straße", "strasse"),
        ("so\u00adft", "soft"),
        ("\u200fcat\u200e", "cat"),
        ("cat\u200bdog", "cat dog"),
        ("cat🐱dog", "cat dog"),
        ("❤\ufe0f", ""),
        ("cat\x00dog", "cat dog"),
        ("cats.Dogs, кошки/собаки", "cats dogs кошки собаки"),
        ("2024:05:15 2,5 4.5.", "2024:05:15 2,5 4.5"),
        ("קְטָנִים", "קְטָנִים"),
        ("", ""),
        ("... !?", ""),
    ],
)
def test_a_text_gets_one_spelling(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text())
@example("\u1fb3\u0345")
@example("е\u0301\u0308")
@example("a\u0301'b")
@example("ὈΔΥΣΣΕΎΣ")
@example("İ'İ")
@example("1\u00b7.2")
@example("0'_")
@example("_'a")
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)

    assert normalise(once) == once


@given(st.text(alphabet="aAbBzZяЯёЁъЪ9 -_'’.é", max_size=30))
def test_case_does_not_matter(text: str) -> None:
    assert normalise(text.upper()) == normalise(text.lower()) == normalise(text)


@given(st.text())
def test_words_are_separated_by_single_spaces(text: str) -> None:
    assert normalise(text).split(" ") == (normalise(text).split() or [""])


def test_scripts_are_told_by_letters() -> None:
    assert has_cyrillic("ё")
    assert has_latin("é")
    assert not has_latin("кот9")
    assert not has_cyrillic("cat 9")
    assert not has_latin("×÷")
