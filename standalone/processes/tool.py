"""Programs that are run to their end: those that make data, and small questions."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from standalone.failures import ServerFailed

#: All take seconds. On a machine under load minutes were seen, and nothing is won by giving up.
LONGEST_S = 1200.0


def run_tool(
    name: str,
    argv: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    told: str | None = None,
    longest_s: float = LONGEST_S,
) -> subprocess.CompletedProcess[str]:
    """Run a program; return its exit code and what it wrote.

    Args:
        name: its name, for messages.
        argv: program and arguments.
        directory: its working directory.
        environment: its whole environment; None: ours.
        told: its standard input; None: ours.
        longest_s: how long it may take.

    Raises:
        ServerFailed: it took longer, and was killed.
    """
    try:
        return subprocess.run(
            argv,
            cwd=directory,
            env=environment,
            input=told,
            capture_output=True,
            text=True,
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{name} did not end within {longest_s:.0f} s") from error
