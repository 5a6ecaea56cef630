"""Text to tokens with their lemmas, the language chosen token by token from the script."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import Protocol

from core.language.english import English
from core.language.exceptions import Exceptions, parse_exceptions
from core.language.lookalikes import in_either_script
from core.language.normalisation import normalise
from core.language.russian import Russian
from core.language.tokenizer import SpacyTokenizer

_CACHED_WORDS = 50_000  # more than the words in use of both languages; about 30 MB when full
_LONGEST_WORD = 64  # characters; longer strings are no words and would fill the cache


class Language(Protocol):
    """The rules of one language for single normalised words."""

    @property
    def function_words(self) -> frozenset[str]:
        """Words that a label of several words can do without (articles, prepositions)."""

    def covers(self, word: str) -> bool:
        """Return whether the word is written in this language's script."""

    def lemmas(self, word: str) -> frozenset[str]:
        """Return the base forms that the word may have; never empty."""


@dataclass(frozen=True, slots=True)
class LemmatizedWord:
    """One word of a text.

    Attributes:
        text: the word, normalised (case-folded).
        lemmas: base forms that it may have, several for homonyms; ё is written е.
        is_function: an article, a preposition or the like.
    """

    text: str
    lemmas: frozenset[str]
    is_function: bool = False


class Lemmatizer:
    """Splits texts into tokens with lemmas. One per process: loading takes 2 s and about 110 MB.

    It may be called from several threads (`asyncio.to_thread`): known words come from a cache,
    new ones are looked up one at a time.

    Args:
        exceptions: `word=lemma` pairs that override the built-in ones, see `parse_exceptions`.
        languages: the first one that covers a word decides; by default Russian, then English.

    Raises:
        ConfigurationError: `exceptions` cannot be read.
    """

    def __init__(self, exceptions: str = "", languages: Sequence[Language] | None = None) -> None:
        self._exceptions = parse_exceptions(exceptions)
        self._languages = default_languages(self._exceptions) if languages is None else languages
        self._tokenizer = SpacyTokenizer()
        self._lock = Lock()
        self._cached = lru_cache(maxsize=_CACHED_WORDS)(self._look_up)

    def lemmatize(self, text: str) -> tuple[LemmatizedWord, ...]:
        """Return the text's tokens in order, with repeats; none where no letter or digit is in it.

        Numbers, and words of other scripts, are their own lemma. Frequent words are kept as well.
        Cached words take 300,000 to 640,000 a second, new ones 7,000 or more.
        """
        tokens: list[LemmatizedWord] = []
        for word in normalise(text).split():
            tokens += self._cached(word) if len(word) <= _LONGEST_WORD else (_verbatim(word),)
        return tuple(tokens)

    def _look_up(self, word: str) -> tuple[LemmatizedWord, ...]:
        # Neither spaCy's vocabulary nor pymorphy3's analyser is documented as thread-safe.
        with self._lock:
            return tuple(map(self._token, filter(_is_word, self._tokenizer.split(word))))

    def _token(self, piece: str) -> LemmatizedWord:
        written = self._in_one_script(piece)
        meant = [self._in_one_script(other) for other in in_either_script(piece)]
        if not meant:
            return written
        lemmas = frozenset[str]().union(written.lemmas, *(word.lemmas for word in meant))
        return replace(written, lemmas=lemmas)

    def _in_one_script(self, piece: str) -> LemmatizedWord:
        for language in self._languages:
            if language.covers(piece):
                lemmas = self._exceptions.get(piece) or language.lemmas(piece)
                return LemmatizedWord(
                    text=piece,
                    lemmas=frozenset(lemma.replace("ё", "е") for lemma in lemmas),
                    is_function=piece in language.function_words,
                )
        return _verbatim(piece)


def default_languages(exceptions: Exceptions) -> tuple[Language, ...]:
    """Return Russian (Cyrillic letters) and English (Latin letters), in this order.

    Russian comes first, since a word with letters of both ("Tшка") has Russian endings.
    """
    return Russian(), English(exceptions)


def _verbatim(word: str) -> LemmatizedWord:
    return LemmatizedWord(text=word, lemmas=frozenset({word}))


def _is_word(piece: str) -> bool:
    return any(character.isalnum() for character in piece)
