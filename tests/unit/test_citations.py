"""Whatever a file of the repository refers to is in the repository."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from core.settings import GROUPS, variables
from core.variables import find_unknown
from tests.documents import COMPOSE_ONLY
from tests.unit.test_architecture import ROOT
from tests.unit.test_architecture import tracked as listed

#: A file that ends in `.md`, with or without folders. Addresses on the web are not ours to check.
PAGE = re.compile(r"(?<![\w:/.*-])(?!https?:)[\w./-]*[\w-]\.md\b")
DECISION = re.compile(r"\bdecisions?[ /]+\[?(\d{4})\b", re.IGNORECASE)
SECTION = re.compile(r"(docs/research/\w+\.md), sections? (\d(?:\.\d)?)(?:,? (?:and|to) (\d\.\d))?")
#: A page and one of its headings: `docs/operations.md`, "Alarms".
HEADING = re.compile(r'`([\w./-]+\.md)`,\s"([^"]+)"')
#: A line for a debugger: consumers/query/role.py:86   # a line of prepare.
LINE = re.compile(r"\b((?:\w+/)+\w+\.py):(\d+)\s+# a line of (\w+)")
#: Documents that were at hand when this was written, and never here: they are cited by nobody.
ABSENT = re.compile(
    r"\bDESIGN(?:\.md\b| ?§)|\bSTYLE\.md\b|\bresearch note|\bresearch[:,] ?\w+|\btraps? \d"
)
#: A path in backticks, in a document.
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|sh|sql|toml|yml|lock))`")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b")
TEST = re.compile(r"`(test_\w+)`")
#: What an example in the document makes, or a running archive.
MADE_BY_READERS = ("core/language/greek.py", "var/env.sh")


@cache
def tracked() -> tuple[Path, ...]:
    """Return every file that git keeps."""
    return tuple(listed())


def texts() -> Iterator[tuple[Path, str]]:
    """Yield each tracked text file with its content."""
    for file in tracked():
        content = file.read_bytes()
        if b"\0" not in content and file != Path(__file__):
            yield file, content.decode("utf-8")


def documents() -> list[tuple[Path, str]]:
    """Return the pages for people, but for decisions, which stay as they were written."""
    return [
        (file, text)
        for file, text in texts()
        if file.suffix == ".md" and file.parent.name != "decisions"
    ]


def missing_pages(file: Path, text: str) -> set[str]:
    """Return the pages that a file names and nobody finds: from its folder or from the top.

    A bare name may lie anywhere.
    """
    names = {page.name for page in tracked()}
    return {
        page
        for page in PAGE.findall(text)
        if page not in names and not any((place / page).is_file() for place in (file.parent, ROOT))
    }


def test_a_page_that_is_named_is_there() -> None:
    found = {str(file.relative_to(ROOT)): missing_pages(file, text) for file, text in texts()}

    assert {file: pages for file, pages in found.items() if pages} == {}


def test_a_decision_that_is_named_is_there() -> None:
    there = {file.name[:4] for file in (ROOT / "docs" / "decisions").glob("*.md")}
    for file, text in texts():
        assert set(DECISION.findall(text)) <= there, file


def test_a_section_of_a_research_page_that_is_named_is_there() -> None:
    seen = 0
    for file, text in texts():
        unfolded = re.sub(r"\s*\n\s*(?:#:? )?", " ", text)  # a citation may be broken by a line
        for page, *sections in SECTION.findall(unfolded):
            headings = (ROOT / page).read_text(encoding="utf-8")
            for section in filter(None, sections):
                assert re.search(rf"^##+ {re.escape(section)}\.? ", headings, re.MULTILINE), file
                seen += 1
    assert seen > 15


def test_a_heading_that_is_named_is_there() -> None:
    seen = 0
    for file, text in documents():
        for page, title in HEADING.findall(text):
            headings = (ROOT / page).read_text(encoding="utf-8")
            assert re.search(rf"^#+ {re.escape(title)}$", headings, re.MULTILINE), (
                f"{file}: {title}"
            )
            seen += 1
    assert seen


def test_a_line_that_is_named_is_one_of_its_function() -> None:
    seen = 0
    for file, text in documents():
        for path, number, name in LINE.findall(text):
            lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
            above = [re.match(r"\s*(?:async )?def (\w+)", line) for line in lines[: int(number)]]
            assert [found[1] for found in above if found][-1] == name, f"{file}: {path}:{number}"
            assert not lines[int(number) - 1].strip().startswith(("def ", "async def ", '"""'))
            seen += 1
    assert seen


def test_nobody_cites_what_never_was_in_the_repository() -> None:
    for file, text in texts():
        assert not ABSENT.search(text), f"{file}: {ABSENT.search(text)}"


def test_a_file_that_a_document_names_is_there() -> None:
    for file, text in documents():
        for path in PATH.findall(text):
            if path not in MADE_BY_READERS:
                assert (ROOT / path).is_file(), f"{file}: {path}"


def test_a_test_that_a_document_names_is_there() -> None:
    tests = "\n".join(text for file, text in texts() if file.name.endswith(".py"))
    modules = {file.stem for file in tracked()}
    for file, text in documents():
        for name in TEST.findall(text):
            assert name in modules or f"def {name}(" in tests, f"{file}: {name}"


def test_a_setting_that_a_document_names_is_there() -> None:
    # A reader who sets another one is stopped at the start.
    known = {name for group in GROUPS for name in variables(group).values()} | set(COMPOSE_ONLY)
    for file, text in documents():
        if file.name != "CHANGELOG.md":  # which tells what became of old ones
            named = dict.fromkeys(VARIABLE.findall(text), "x")
            assert find_unknown(named, known) == [], file


@pytest.mark.parametrize(
    "text",
    ["as docs/nowhere.md says", "(research/runtime.md 2)", "[x](../gone.md)", "see NOTES.md"],
)
def test_a_page_that_is_not_there_is_found(text: str) -> None:
    assert missing_pages(ROOT / "docs" / "decisions" / "0001-offsets-in-postgresql.md", text)


@pytest.mark.parametrize(
    "text", ["STYLE.md", "DESIGN §3", "trap 2.4", "research: embedded.md", "the research note"]
)
def test_a_citation_of_what_is_not_here_is_found(text: str) -> None:
    assert ABSENT.search(text)
