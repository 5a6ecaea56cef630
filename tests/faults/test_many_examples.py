"""Property tests of the unit suite with many more examples than it has time for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import MANY

REPOSITORY = Path(__file__).parents[2]
FILES = (
    "egress/test_hostile_addresses.py",
    "messaging/test_epochs.py",
    "messaging/test_loop.py",
    "messaging/test_tracking.py",
    "relevance/test_combos.py",
    "test_fuzzing.py",
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("file", FILES)
def test_it_holds_for_many_examples(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", f"tests/unit/{file}", "--timeout", "1500"]

    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {MANY: "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:]
