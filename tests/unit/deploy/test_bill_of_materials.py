"""`make sbom`: the bill of materials names what the lock names."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.documents import ROOT

PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", re.MULTILINE)


def command() -> list[str]:
    """Return what the target runs, without the name of the tool."""
    recipe = re.search(
        r"^sbom:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert recipe is not None
    _, *arguments = shlex.split(recipe[1].replace("\\\n", " ").strip().removeprefix("@"))
    return arguments


@pytest.mark.skipif(
    find_spec("cyclonedx_py") is None, reason="cyclonedx-bom is not installed: make .venv/dev"
)
def test_the_bill_of_materials_names_what_the_lock_names(tmp_path: Path) -> None:
    arguments = command()
    written = tmp_path / "sbom.json"
    arguments[arguments.index("-o") + 1] = str(written)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", *arguments],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    bill = json.loads(written.read_text(encoding="utf-8"))
    locked = set(PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8")))

    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "photo-archive"
    named = {(one["name"].lower(), one["version"]) for one in bill["components"]}
    assert named == locked
