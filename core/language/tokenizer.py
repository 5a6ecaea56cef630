"""spaCy's English tokenizer, applied word by word: it splits contractions and units off numbers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: A spaCy vocabulary keeps every string that it ever saw (430 bytes a word, measured on 3.8.18), so
#: a process that runs for years grows. spaCy's remedy, `memory_zone`, costs 90 µs a call and still
#: keeps 21 bytes a word. A new tokenizer costs 50 ms, so that it is replaced after this many new
#: words, when it holds about 9 MB.
_WORDS_PER_VOCABULARY = 20_000


class SpacyTokenizer:
    """Splits normalised words as spaCy does: `don't` into `do` and `n't`, `5pm` into `5` and `pm`.

    spaCy itself splits at blanks first, so the result is the same word by word, and can be cached.
    Texts must be normalised first: on a run of 10,000 brackets, full stops or emoji its tokenizer
    takes 6 to 13 seconds (quadratic, 3.8.18). Not safe to call from two threads at once.
    """

    def __init__(self) -> None:
        self._split = _blank_tokenizer()
        self._words_left = _WORDS_PER_VOCABULARY

    def split(self, word: str) -> tuple[str, ...]:
        """Return the tokens of one word, in order."""
        if self._words_left == 0:
            self._split = _blank_tokenizer()
            self._words_left = _WORDS_PER_VOCABULARY
        self._words_left -= 1
        return tuple(token.text for token in self._split(word))


def _blank_tokenizer() -> Any:
    with torch_hidden():
        from spacy.lang.en import English
    return English().tokenizer


@contextmanager
def torch_hidden() -> Iterator[None]:
    """Let spaCy be imported without torch.

    `thinc.compat` imports torch wherever it is installed, used or not: 630 MB and 6 s against
    83 MB and 2 s (thinc 8.3). None in `sys.modules` makes that import fail, which thinc handles.
    Where torch is loaded already, this does nothing.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented by the import system
    try:
        yield
    finally:
        del sys.modules["torch"]
