"""Rules of docs/style.md that no linter checks; import-linter checks who imports whom."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("consumers", "core", "ingress", "migrations", "photo_archive", "producers", "schemas",
            "standalone", "training")  # fmt: skip
BANNED = {"utils", "helpers", "common", "misc", "base", "manager", "data", "info"}
BANNED_IN_CORE = BANNED | {"types", "models"}
MAX_LINES = 600
MAX_LOOSE_MODULES = 18  # decision 0021
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|maven\.org|maven\.apache\.org|npmjs\.org|proxy\.golang\.org"
)
NOT_RETURN = re.compile(r"Gives?\b(?!.*\b(?:back|up)\b)")  # "Give back", "give up" mean else
MACHINE_PATH = re.compile(r"(?<![\w.%*-])/(?:work|root|tmp)/")


def tracked() -> list[Path]:
    """Return every file that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def modules() -> list[Path]:
    """Return every Python file of the packages."""
    return [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]


def test_an_init_file_holds_a_docstring_and_nothing_else() -> None:
    # import-linter would not see an import in one, and it would load modules needlessly.
    for file in modules():
        if file.name == "__init__.py":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            assert len(tree.body) == 1, file
            assert ast.get_docstring(tree), file


def test_every_module_says_what_it_is() -> None:
    for file in modules():
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


def test_a_docstring_says_return_and_not_give() -> None:
    for file in modules():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                assert not NOT_RETURN.match(text), f"{file}: {text.splitlines()[0]}"


def test_no_module_is_a_junk_drawer() -> None:
    for file in modules():
        parts = {part.removesuffix(".py") for part in file.relative_to(ROOT).parts}
        banned = BANNED_IN_CORE if file.is_relative_to(ROOT / "core") else BANNED
        assert not parts & banned, file


def test_no_folder_holds_more_loose_modules_than_a_reader_takes_in() -> None:
    loose = Counter(
        file.parent for file in tracked() if file.suffix == ".py" and file.name != "__init__.py"
    )
    assert {folder for folder, number in loose.items() if number > MAX_LOOSE_MODULES} == set()


def test_a_class_name_stands_for_one_thing() -> None:
    # A search for the name must not find the wrong class.
    homes: dict[str, set[Path]] = defaultdict(set)
    for file in modules():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(file.relative_to(ROOT))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_no_file_is_so_long_that_a_second_subject_has_moved_in() -> None:
    for file in tracked():
        # Word lists are data, so their length does not matter.
        if file.suffix == ".py" and not file.stem.endswith("_words"):
            assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, file


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    # Registries' addresses come from the machine's settings.
    for file in tracked():
        content = file.read_bytes()
        if b"\0" in content:
            continue  # binary, such as weights
        text = content.decode("utf-8", "replace")
        for pattern in (REGISTRY, MACHINE_PATH):
            assert not pattern.search(text), f"{file}: {pattern.search(text)}"
