"""Tokens of whole texts: languages mixed, hostile texts, exceptions, threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.language import tokenizer
from core.language.exceptions import parse_exceptions
from core.language.lemmatizer import LemmatizedWord, Lemmatizer
from core.language.tokenizer import SpacyTokenizer
from tests.unit.language.loaded import lemmas, lemmatizer


def keys(text: str) -> list[list[str]]:
    return [sorted(token.lemmas) for token in lemmatizer().lemmatize(text)]


def test_each_word_is_lemmatized_in_the_language_of_its_script() -> None:
    assert keys("кошки on the beaches") == [["кошка"], ["on"], ["the"], ["beach"]]


@pytest.mark.parametrize(
    ("mixed", "meant"),
    [
        ("саt", "cat"),  # two Cyrillic letters
        ("cатs", "cats"),
        ("СAТ", "CAT"),
        ("dоg", "dog"),
        ("кoшка", "кошка"),  # a Latin o
        ("Mашина", "машина"),
        ("ВEACH", "beach"),  # a capital В looks like B
    ],
)
def test_a_word_that_mixes_scripts_is_tried_in_either_one(mixed: str, meant: str) -> None:
    assert set(keys(meant)[0]) <= set(keys(mixed)[0])


def test_a_whole_word_of_one_script_is_no_word_of_the_other() -> None:
    assert keys("сор") != keys("cop")
    assert not set(keys("сор")[0]) & set(keys("cop")[0])
    assert not set(keys("нос")[0]) & set(keys("hoc")[0])


def test_a_word_whose_scripts_no_letters_bring_together_stays_what_it_is() -> None:
    assert all("d" in lemma and "щ" in lemma for lemma in keys("dogщ")[0])


def test_full_width_letters_and_ligatures_are_letters() -> None:
    assert keys("ｃａｔ") == keys("cat")
    assert keys("ＣＡＴＳ　ＤＯＧ") == keys("cats dog")
    assert keys("ﬁsh") == keys("fish")
    assert keys("ｄｏｎ´ｔ") == keys("don't")


def test_contractions_and_units_are_split_as_spacy_does() -> None:
    assert [token.text for token in lemmatizer().lemmatize("Don’t 5pm cat's")] == [
        "do",
        "n't",
        "5",
        "pm",
        "cat",
        "'s",
    ]


def test_digits_are_their_own_lemma() -> None:
    assert keys("9 2024:05:15 2,5") == [["9"], ["2024:05:15"], ["2,5"]]


def test_words_of_other_scripts_are_their_own_lemma() -> None:
    assert keys("猫 חתול") == [["猫"], ["חתול"]]


def test_repeats_are_kept_in_order() -> None:
    assert [token.text for token in lemmatizer().lemmatize("cat cats Cat")] == [
        "cat",
        "cats",
        "cat",
    ]


def test_function_words_are_marked_and_kept() -> None:
    tokens = lemmatizer().lemmatize("a day of the dead и в поле без снега, not no")

    assert [token.text for token in tokens if token.is_function] == ["a", "of", "the", "и", "в"]
    assert len(tokens) == 12


@pytest.mark.parametrize("text", ["", " \t\n", "... !?", "🐱🐶", "\x00", "❤\ufe0f", "\u0301", "''"])
def test_a_text_without_letter_or_digit_has_no_tokens(text: str) -> None:
    assert lemmatizer().lemmatize(text) == ()


def test_a_nul_separates_words() -> None:
    assert keys("cats\x00dogs") == [["cat"], ["dog"]]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        ".," * 5_000,
        "😀" * 10_000,
        "'" * 10_000,
        "a'" * 5_000,
        "1," * 5_000,
        "а" * 10_000,
        "cats " * 2_000,
        "\u200f" * 10_000,
        "e\u0301" * 5_000,
    ],
)
@pytest.mark.timeout(5)
def test_ten_thousand_hostile_characters_take_no_seconds(text: str) -> None:
    # Without normalisation the first three take spaCy 6 to 13 s; here all take milliseconds.
    assert all(token.lemmas for token in lemmatizer().lemmatize(text))


@given(st.text(max_size=200))
def test_any_text_gives_tokens_with_lemmas(text: str) -> None:
    for token in lemmatizer().lemmatize(text):
        assert token.text
        assert token.lemmas
        assert all(lemma == lemma.casefold() and "ё" not in lemma for lemma in token.lemmas)


@given(st.text(alphabet="catsdogкошиё -'9", max_size=40))
def test_case_does_not_matter_to_lemmas(text: str) -> None:
    assert lemmatizer().lemmatize(text.upper()) == lemmatizer().lemmatize(text)


def test_exceptions_of_a_setting_stand_over_tables_in_both_languages() -> None:
    strict = Lemmatizer("Fishing=fishing, leaves=leave,leaves=leaf,стали=сталь")

    def of(word: str) -> frozenset[str]:
        (token,) = strict.lemmatize(word)
        return token.lemmas

    assert lemmas("fishing") == lemmas("fish")
    assert of("fishing") == {"fishing"}
    assert of("leaves") == {"leave", "leaf"}
    assert of("стали") == {"сталь"}


@pytest.mark.parametrize("value", ["people", "people=", "=person", "a b=c", "a=b c", "a=,b=c"])
def test_an_exception_that_cannot_be_read_names_the_variable(value: str) -> None:
    with pytest.raises(ConfigurationError, match="QUERY_EXCEPTIONS"):
        parse_exceptions(value)


def test_no_exceptions_are_none() -> None:
    assert parse_exceptions(" , ") == {}


def test_a_language_may_be_added_before_the_others() -> None:
    class Shouting:
        function_words = frozenset({"oh"})

        def covers(self, word: str) -> bool:
            return word.startswith("oh")

        def lemmas(self, word: str) -> frozenset[str]:
            return frozenset({"oh"})

    shouting = Lemmatizer(languages=(Shouting(),))

    assert shouting.lemmatize("Ohhh cats") == (
        LemmatizedWord("ohhh", frozenset({"oh"})),
        LemmatizedWord("cats", frozenset({"cats"})),
    )


def test_threads_get_what_one_thread_gets() -> None:
    texts = [f"cats{n} кошками{n} don't running{n}" for n in range(300)] * 2
    shared = Lemmatizer()

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(shared.lemmatize, texts))

    assert together == [lemmatizer().lemmatize(text) for text in texts]


def test_the_tokenizer_is_renewed_before_its_vocabulary_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokenizer, "_WORDS_PER_VOCABULARY", 3)
    small = SpacyTokenizer()
    first = small._split

    for n in range(7):
        assert small.split(f"word{n}") == (f"word{n}",)

    assert small._split is not first
    assert len(small._split.vocab.strings) < len(first.vocab.strings) + 3


def test_spacy_does_not_bring_torch_into_the_process() -> None:
    code = (
        "import sys; from core.language.lemmatizer import Lemmatizer; Lemmatizer();"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_torch_can_be_imported_after_spacy() -> None:
    with tokenizer.torch_hidden():
        pass

    assert sys.modules.get("torch", "absent") is not None
