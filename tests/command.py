"""`photo-archive` as an operator runs it: the script that is installed beside this Python."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("photo-archive"))
TIMEOUT_S = 300  # a busy machine took a minute for the start of Python alone


def run_command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end, with these variables on top of the environment."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
