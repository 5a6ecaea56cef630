"""The listed steps (core/failpoints.py) and the calls in the code agree."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from core.failpoints import POINTS

ROOT = Path(__file__).parents[2]
#: The functions that implement the guarantees; all their steps must have names.
STEPPED = {
    "core/messaging/claiming.py": ("_claim",),
    "core/messaging/committing.py": ("_transact",),
    "core/messaging/intake.py": ("_fetch",),
    "core/messaging/member.py": ("_try_to_join", "_commit_offsets", "leave", "_hand_over"),
    "core/messaging/outbox.py": ("publish", "sweep"),
    "consumers/tagging/role.py": ("apply",),
    "consumers/tagging/slow_lane.py": ("_commit",),
    "consumers/query/role.py": ("apply",),
    "consumers/query/waiting.py": ("serve",),
    "consumers/delivery/role.py": ("apply",),
    "consumers/delivery/lanes.py": ("_write",),
}
#: Calls that only read, or end in another function with steps: a kill after them changes nothing.
NO_STEPS = {
    "_drain",  # whose end is leave.drained
    "_hand_over",  # stepped itself
    "quiet",  # a wait
    "_check_labels",  # a read
    "_current",  # a read
    "identify",  # a read
    "lock_older",  # sweep.locked
    "transaction",
    "predecessor",
    "ready",
    "answer_all",
    "answer_each",
}


def said() -> Counter[str]:
    """Return every name in the code with its number of uses."""
    names: Counter[str] = Counter()
    for package in ("core", "consumers", "producers", "ingress"):
        for file in (ROOT / package).rglob("*.py"):
            names.update(re.findall(r"\breach\(\"([^\"]+)\"\)", file.read_text(encoding="utf-8")))
    return names


def test_every_name_that_is_said_is_listed_and_every_listed_one_is_said_once() -> None:
    assert said() == dict.fromkeys(POINTS, 1)


@pytest.mark.parametrize("file", STEPPED)
def test_no_two_awaits_follow_each_other_without_a_name_between_them(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and node.name in STEPPED[file]
    }
    assert set(found) == set(STEPPED[file])
    for name, function in found.items():
        steps = "".join(kind for _, kind in sorted(_steps(function)))
        assert "aa" not in steps, f"{file}: {name}: {steps}"
        assert "p" in steps, f"{file}: {name} has no step"


def _steps(function: ast.AsyncFunctionDef) -> list[tuple[tuple[int, int], str]]:
    """Return the steps of a function in the order of its text: 'a' an await, 'p' a name."""
    steps: list[tuple[tuple[int, int], str]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Await) and _called(node.value) not in NO_STEPS:
            steps.append(((node.lineno, node.col_offset), "a"))
        elif isinstance(node, ast.Call) and _called(node) == "reach":
            steps.append(((node.lineno, node.col_offset), "p"))
    return steps


def _called(node: ast.expr) -> str:
    if not isinstance(node, ast.Call):
        return ""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def test_a_step_does_nothing_unless_a_test_has_armed_something() -> None:
    from core import failpoints

    failpoints.reach("no.such.step")  # not even looked up
    assert failpoints._springs == []
