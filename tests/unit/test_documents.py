"""Documents agree with the code."""

import ast
import re
import tomllib
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from core.settings import GROUPS, variables
from core.telemetry.events import EVENTS
from ingress.app import DESCRIBED
from schemas.image import ImageArrived
from schemas.query import QuerySubmitted
from tests.documents import (
    ENV_EXAMPLE,
    EXAMPLE,
    OPERATIONS,
    ROOT,
    between,
    documents,
    env_example,
    meanings,
    operations,
    with_examples,
)
from tests.log_events import levels_of_events


def test_operations_has_every_setting_and_metric_as_the_code_has_them() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")

    assert text == operations(text), "run: make docs"


def test_every_log_event_is_listed_with_its_meaning_and_no_other() -> None:
    in_code = set(levels_of_events(ROOT))

    assert in_code - set(EVENTS) == set(), "add to core/telemetry/events.py, then: make docs"
    assert set(EVENTS) - in_code == set(), "nobody logs these any more"
    assert all(meaning.strip() for meaning in EVENTS.values())


def test_every_reason_to_halt_a_partition_is_documented_and_no_other() -> None:
    halts = {
        str(argument.value)
        for path in (ROOT / "core" / "messaging").glob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("_session.halt")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    text = OPERATIONS.read_text(encoding="utf-8")
    section = text.partition("### Halted partitions")[2].partition("## ")[0]

    assert len(halts) >= 3
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == halts


def test_event_names_are_found_in_every_form_and_others_are_an_error(tmp_path: Path) -> None:
    code = tmp_path / "core"
    code.mkdir()
    (code / "a.py").write_text(
        'log.info("one", x=1)\nself._log.exception("two" if x else "three")\n'
    )
    assert levels_of_events(tmp_path) == {"one": {"info"}, "two": {"error"}, "three": {"error"}}

    (code / "b.py").write_text('logger.warning(f"{x} happened")\n')
    with pytest.raises(ValueError, match="no event name"):
        levels_of_events(tmp_path)


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+) — (?:unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)

    assert len(versions) == text.count("\n## ")
    assert versions[0] == project["version"]


def test_the_changelog_says_nothing_twice() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = Counter(re.split(r"^(?:- |#)", text, flags=re.MULTILINE))

    assert [entry for entry, times in entries.items() if times > 1] == []


def test_every_setting_says_what_it_means() -> None:
    silent = sorted(name for name, meaning in meanings().items() if not meaning.strip())

    assert silent == [], "write the meaning into docs/operations.md, then: make docs"


def _module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_module_of_routes_is_served_and_described() -> None:
    files = (ROOT / "ingress" / "routes").rglob("*.py")
    offered = {
        (one.method, one.path)
        for file in files
        for one in getattr(import_module(_module_of(file)), "OPERATIONS", ())
    }
    described = {(one.method, one.path) for one in DESCRIBED}

    assert offered == described, "add its OPERATIONS to ingress/app.py"


def test_every_route_has_a_place_in_the_page_about_them() -> None:
    page = _ids_alike((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))

    missing = {one.path for one in DESCRIBED if _ids_alike(one.path) not in page}
    assert missing == set(), "say in docs/api.md who may use it"


def _ids_alike(text: str) -> str:
    return re.sub(r"\{\w+\}", "{id}", text)


def test_every_field_that_producers_may_send_is_explained_to_them() -> None:
    page = (ROOT / "docs" / "producers.md").read_text(encoding="utf-8")
    fields = {*ImageArrived.model_fields, *QuerySubmitted.model_fields}

    assert {field for field in fields if f"`{field}`" not in page} == set()


def test_the_example_environment_has_every_setting_with_its_default() -> None:
    assert ENV_EXAMPLE.read_text(encoding="utf-8") == env_example(meanings()), "run: make docs"


def test_documents_show_the_examples_as_they_are_and_all_of_them() -> None:
    shown = set()
    for document in documents():
        text = document.read_text(encoding="utf-8")
        assert text == with_examples(text), f"{document.name}, run: make docs"
        shown |= set(EXAMPLE.findall(text))

    files = {f"examples/{file.name}" for file in (ROOT / "examples").iterdir() if file.is_file()}
    assert shown == files - {"examples/README.md"}


def test_no_two_groups_share_a_variable() -> None:
    names = [name for group in GROUPS for name in variables(group).values()]

    assert len(names) == len(set(names)) > 80


def test_every_generated_part_names_a_command_that_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    marks = [
        (path.name, *mark)
        for path in (ROOT / "docs").rglob("*.md")
        for mark in re.findall(
            r"<!-- (\w+): make ([a-z-]+) -->(?=.*?<!-- /\1 -->)", path.read_text(), re.DOTALL
        )
    ]

    assert {target for _, _, target in marks} <= targets
    assert {mark for mark in marks if mark[0] == "guarantees.md"} == {
        ("guarantees.md", "matrix", "test-faults"),
        ("guarantees.md", "recovery", "test-faults"),
    }


def test_a_part_is_replaced_and_a_missing_mark_is_an_error() -> None:
    text = "a\n<!-- x: make y -->old<!-- /x -->\nb"

    assert between(text, "x", "new", by="make y") == (
        "a\n<!-- x: make y -->\n\nnew\n\n<!-- /x -->\nb"
    )
    with pytest.raises(ValueError, match="no <!-- x: make docs -->"):
        between(text, "x", "new")
