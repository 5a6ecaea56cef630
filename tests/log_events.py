"""The log events of the code, found in its syntax tree."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "photo_archive", "core", "consumers", "ingress", "producers", "schemas", "migrations",
    "standalone",
)  # fmt: skip
_MAY_LOG = re.compile(r"log(ger)?_?\s*\.")
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "error",
}


def levels_of_events(root: Path) -> dict[str, set[str]]:
    """Return event name -> levels at which it is logged, over all packages.

    Raises:
        ValueError: the first argument of a call is not a literal, so its name cannot be looked up.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not _MAY_LOG.search(text):  # skips most files, since parsing all takes seconds
                continue
            for call in _calls(ast.parse(text)):
                level = LEVELS[ast.unparse(call.func).rpartition(".")[2]]
                names = list(_names(call.args[0])) if call.args else []
                if not names:
                    raise ValueError(f"{path}:{call.lineno}: {ast.unparse(call)}: no event name")
                for name in names:
                    found[name].add(level)
    return dict(found)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield calls of `log.info(…)` and the like."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and ast.unparse(node.func.value).rpartition(".")[2].strip("_") in {"log", "logger"}
        ):
            yield node


def _names(argument: ast.expr) -> Iterator[str]:
    """Return the names that an argument may be: a literal, or one of two."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
    elif isinstance(argument, ast.IfExp):
        yield from _names(argument.body)
        yield from _names(argument.orelse)
