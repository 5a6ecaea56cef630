"""The small lock: a part of the large one, without torch, and enough for unit tests."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.unit.test_architecture import ROOT

PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;]+)", re.MULTILINE)
#: Gigabytes that a first contribution does without.
HEAVY = re.compile(r"torch|nvidia|triton|onnx|timm|open-clip|scikit|playwright")


def pins(name: str) -> set[tuple[str, str]]:
    """Return each package of a lock with its version; a package may have one per Python."""
    return set(PIN.findall((ROOT / name).read_text(encoding="utf-8")))


def imported(file: Path, *, everywhere: bool) -> Iterator[str]:
    """Yield the modules that a file imports: `everywhere` also inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    """Return the repository's file of a module; None where it is somebody else's."""
    path = ROOT.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def loaded_by_unit_tests() -> set[str]:
    """Return the outside packages that are imported when unit tests are collected or run."""
    waiting = [*(ROOT / "tests" / "unit").rglob("*.py"), ROOT / "tests" / "conftest.py"]
    seen, outside = set(waiting), set()
    while waiting:
        file = waiting.pop()
        in_tests = file.is_relative_to(ROOT / "tests" / "unit")
        for module in imported(file, everywhere=in_tests):
            found = file_of(module)
            if found is None and file_of(module.rpartition(".")[0]) is None:
                outside.add(module.partition(".")[0])
            elif found is not None and found not in seen:
                seen.add(found)
                waiting.append(found)
    return outside - sys.stdlib_module_names


def test_the_small_lock_has_the_versions_of_the_large_one() -> None:
    assert pins("requirements-unit.txt") <= pins("requirements-dev.txt"), "run: make lock"
    assert pins("requirements.txt") <= pins("requirements-dev.txt"), "run: make lock"


def test_the_small_lock_holds_nothing_heavy() -> None:
    assert not [name for name, _ in pins("requirements-unit.txt") if HEAVY.search(name)]
    assert [name for name, _ in pins("requirements-dev.txt") if HEAVY.search(name)]


def test_whatever_unit_tests_import_is_in_the_small_lock() -> None:
    # Otherwise they pass where everything is installed, and nowhere else.
    locked = {name for name, _ in pins("requirements-unit.txt")}
    sources = packages_distributions()
    missing = {
        package
        for package in loaded_by_unit_tests()
        if not {name.lower().replace("_", "-") for name in sources.get(package, ())} & locked
    }

    assert missing == set(), "move the test to tests/integration, or add to requirements-unit.in"
