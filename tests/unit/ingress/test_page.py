"""The page's modules: words in both languages, addresses of modules, sizes.

The modules are read as text: whether they work is for a browser to say.
"""

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

from core.storage.finding.timeline import PART_IMAGES
from ingress.app import DESCRIBED
from ingress.operations import Operation

APP = Path(__file__).parents[3] / "ingress" / "pages" / "app"
CORE = APP.parents[2] / "core"
SHELL = APP / "index.html"
CHECKS = APP.parents[2] / "docs" / "page" / "checks.md"
LANGUAGES = ("en", "ru")
#: Of words alone: what the first view says, and what all else says.
WORDS = tuple(f"{language}{part}" for language in LANGUAGES for part in ("", "-work"))
#: What the page never brings about: it sends whole requests, and one file in each.
PROGRAMS_ONLY = {"malformed_json", "malformed_multipart", "malformed_request", "too_many_files"}
FORMS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}}
#: What the first view may cost, compressed as it is sent: with the first data it has
#: 120 kB. lit-html comes on top (5 kB).
MOST_AT_FIRST_BYTES = 45_000
#: With dialogs and small pictures, which come with whichever is opened first.
MOST_OF_A_SCREEN_BYTES = 19_500
#: As they are written: of the first view, and with those of all others.
MOST_STYLES_BYTES, MOST_OF_ALL_STYLES_BYTES = 12_000, 20_000

Words: TypeAlias = dict[str, "str | Words"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_$][\w$]*|[{}:,]')
_LITERAL = re.compile(r'["`]([a-z]+\.[\w.]*\w)["`]')
_BEGUN = re.compile(r"[\"`]([a-z]+\.[\w.]*?)(?:\$\{|(?<=[._])\")")
_SECTION = re.compile(r'wordOf\("([\w.]+)"')
_CALL = re.compile(r"\b(?:t|has)\(([^()]*(?:\([^()]*\)[^()]*)*)")
_IMPORT = re.compile(r'(?:from|import)\s*\(?\s*"(\./[\w./-]+\.js)"')
_NAMED_IMPORT = re.compile(r'(?m)^import \{ ([^}]*) \} from "\./([\w-]+\.js)"')
_STATIC = re.compile(r'^(?:import|export)\b[^;]*?from "(\./[\w./-]+\.js)"', re.MULTILINE)


def modules() -> list[Path]:
    return sorted(APP.glob("*.js"))


def words_of(language: str) -> Words:
    """Return all words of a language."""
    both: Words = {}
    for name in (language, f"{language}-work"):
        for section, texts in words_in(name).items():
            both[section] = {**both.get(section, {}), **texts}  # type: ignore[dict-item]  # of objects
    return both


@cache
def words_in(name: str) -> Words:
    """Return the words of a file: an object of objects and strings, nothing else."""
    text = re.sub(r"(?m)^\s*//.*$", "", (APP / f"{name}.js").read_text())
    body = text[text.index("{") : text.rindex("}") + 1]
    tokens = _TOKEN.findall(body)
    for at, token in enumerate(tokens):
        if re.match(r"[A-Za-z_$]", token):
            tokens[at] = json.dumps(token)
    found: Words = json.loads(re.sub(r",(?=})", "", "".join(tokens)))
    return found


def flat(words: Words, language: str, before: str = "") -> Iterator[tuple[str, "str | Words"]]:
    """Yield each key with its text; a text with plural forms is one value."""
    for key, value in words.items():
        if isinstance(value, str) or (value and set(value) <= FORMS["ru"]):
            yield before + key, value
        else:
            yield from flat(value, language, f"{before}{key}.")


def texts(value: "str | Words") -> list[str]:
    return (
        [value]
        if isinstance(value, str)
        else [one for one in value.values() if isinstance(one, str)]
    )


def test_both_languages_have_the_same_keys() -> None:
    english, russian = (dict(flat(words_of(one), one)) for one in LANGUAGES)

    assert len(english) > 200
    assert sorted(english) == sorted(russian)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_with_plural_forms_has_all_of_its_language(language: str) -> None:
    plural = {
        key: value for key, value in flat(words_of(language), language) if isinstance(value, dict)
    }

    assert plural
    for key, value in plural.items():
        assert set(value) == FORMS[language], key
        assert len({"{" in one for one in texts(value)}) == 1, key  # "21 photos" has form `one`


def test_a_text_names_the_same_values_in_both_languages() -> None:
    english, russian = (dict(flat(words_of(one), one)) for one in LANGUAGES)

    for key, value in english.items():
        names = [
            set(re.findall(r"\{(\w+)\}", " ".join(texts(one)))) for one in (value, russian[key])
        ]
        assert names[0] == names[1], key


def test_every_key_that_a_module_asks_for_exists() -> None:
    known = {key for key, _ in flat(words_of("en"), "en")}
    asked = 0

    for module in modules():
        if module.stem in WORDS:
            continue
        for call in _CALL.findall(module.read_text()):
            for key in _LITERAL.findall(call):
                asked += 1
                assert key in known, f"{module.name}: {key}"
            for begun in _BEGUN.findall(call):
                asked += 1
                assert any(key.startswith(begun) for key in known), f"{module.name}: {begun}…"

    assert asked > 150


def keys_in(name: str) -> set[str]:
    return {key for key, _ in flat(words_in(name), name.partition("-")[0])}


def said_late(name: str) -> set[str]:
    """Return the keys of the second file of words that a module names."""
    late, code = keys_in("en-work"), (APP / name).read_text()
    begun = tuple(one for one in _BEGUN.findall(code) if not one.endswith("."))
    return {key for key in late if key in _LITERAL.findall(code) or key.startswith(begun)}


def test_what_the_first_view_says_is_in_the_first_file_of_words() -> None:
    assert keys_in("en").isdisjoint(keys_in("en-work"))
    for name in needed("main.js") | needed("photos.js"):
        assert not said_late(name), name
    named = ("excluded", "hand_tagged", "has_tags")
    assert {f"filter.{one}_{is_so}" for one in named for is_so in ("true", "false")} <= keys_in(
        "en"
    )


def test_what_the_first_view_opens_comes_with_the_second_file_of_words() -> None:
    """But for the screens, which `show` opens, and what asks for the words by itself."""
    opened = 0

    for name in needed("main.js") | needed("photos.js"):
        code = re.sub(r"(?m)^const STEPS = .*$", "", (APP / name).read_text())
        for other, comes_with in re.findall(r'import\("\./([\w-]+\.js)"\)(, loadWork\(\))?', code):
            asks_itself = "await loadWork()" in (APP / other).read_text()
            if any(said_late(one) for one in needed(other)) and not asks_itself:
                opened += 1
                assert comes_with, f"{name}: {other}"

    assert opened > 4


def test_every_text_is_asked_for_by_some_module() -> None:
    code = "".join(one.read_text() for one in modules() if one.stem not in WORDS)
    begun = (*_BEGUN.findall(code), *(f"{one}." for one in _SECTION.findall(code)))

    for key, _ in flat(words_of("en"), "en"):
        assert f'"{key}"' in code or key.startswith(begun), key


def asked_by_the_page() -> Iterator[Operation]:
    """Yield the operations whose path some module names."""
    code = "".join(one.read_text() for one in modules() if one.stem not in WORDS)
    for operation in DESCRIBED:
        path = re.sub(r"\\\{\w+\\\}", r"\\$\\{[^}]+\\}", re.escape(operation.path))
        if re.search(f'["`]{path}["`?]', code):
            yield operation


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_words_for_every_problem_that_it_may_be_answered(language: str) -> None:
    words = words_of(language)["problem"]
    asked = list(asked_by_the_page())
    codes = {code for operation in asked for code in operation.problems}

    assert len(asked) > 40
    assert {"too_many_changes", "nothing_to_undo", "filter_not_found"} <= codes
    assert codes - PROGRAMS_ONLY <= set(words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_words_for_every_reason_why_a_picture_cannot_be_fetched(language: str) -> None:
    code = "".join(one.read_text() for one in (CORE / "blobs").glob("*.py"))
    reasons = set(re.findall(r'reason="(\w+)"', code))

    assert "bucket_not_allowed" in reasons
    assert reasons <= set(words_of(language)["reason"])


def test_modules_import_only_what_is_there() -> None:
    for module in modules():
        for name in _IMPORT.findall(module.read_text()):
            if not name.startswith("./lit/"):
                assert (APP / name).is_file(), f"{module.name}: {name}"


def test_modules_import_only_what_another_gives() -> None:
    """A name that is not there ends the whole page, and no module says so before it is opened."""
    given = re.compile(r"(?m)^export (?:async )?(?:function|const|class)\*? (\w+)")
    exports = {one.name: set(given.findall(one.read_text())) for one in modules()}
    looked = 0

    for module in modules():
        for names, other in _NAMED_IMPORT.findall(module.read_text()):
            looked += 1
            wanted = {one.partition(" as ")[0].strip() for one in names.split(",")}
            assert wanted <= exports[other], f"{module.name}: {other}"

    assert looked > 200


def test_no_template_has_a_style_that_the_policy_forbids() -> None:
    for module in modules():
        assert not re.search(
            r"\sstyle=[\"'$]|styleMap|innerHTML|insertAdjacentHTML", module.read_text()
        ), module.name


def packed(name: str) -> int:
    return len(gzip.compress((APP / name).read_bytes(), mtime=0))


def needed(name: str) -> set[str]:
    """Return a module and all that it imports before it runs."""
    found = {name}
    waiting = [name]
    while waiting:
        for other in _STATIC.findall((APP / waiting.pop()).read_text()):
            one = other.removeprefix("./")
            if not one.startswith("lit/") and one not in found:
                found.add(one)
                waiting.append(one)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_view_is_small(language: str) -> None:
    first = needed("main.js") | needed("photos.js") | {"page.css", f"{language}.js"}

    assert sum(map(packed, first)) <= MOST_AT_FIRST_BYTES, {one: packed(one) for one in first}


def test_what_the_page_begins_with_is_asked_for_at_once() -> None:
    """Else the browser hears of a module only when another one has come."""
    begun = re.findall(r'modulepreload" href="/page/{digest}/([\w-]+\.js)"', SHELL.read_text())

    first = needed("main.js") | needed("photos.js")
    assert sorted(begun) == sorted(first - {"main.js"})


def test_the_page_cuts_months_as_the_archive_does() -> None:
    [part] = re.findall(r"(?m)^export const PART = (\d+);", (APP / "timeline.js").read_text())

    assert int(part) == PART_IMAGES


def test_what_a_further_screen_brings_is_small() -> None:
    first = needed("main.js") | needed("photos.js")

    for module in modules():
        if module.stem not in WORDS:
            more = needed(module.name) - first
            assert sum(map(packed, more)) <= MOST_OF_A_SCREEN_BYTES, (module.name, more)


def test_the_styles_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in APP.glob("*.css")}

    assert sizes["page.css"] <= MOST_STYLES_BYTES
    assert sum(sizes.values()) <= MOST_OF_ALL_STYLES_BYTES


def test_the_tests_that_hold_the_promises_of_the_page_are_there() -> None:
    tests = {path.name for path in (APP.parents[2] / "tests").rglob("test_*.py")}
    rows = re.findall(r"(?m)^\| (\d+)\. .*$", CHECKS.read_text())

    assert rows == [str(number) for number in range(1, 21)]
    assert set(re.findall(r"`(test_\w+\.py)`", CHECKS.read_text())) <= tests
