"""A shell file that tells other terminals how to reach this archive."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from standalone.files import write_private

FILE_NAME = "env.sh"


def write_shell_file(
    home: Path, environment: Mapping[str, str], inherited: Mapping[str, str], **more: str
) -> Path:
    """Write `env.sh` into the home, for `. env.sh`; return its path.

    It holds secrets, so only its owner can read it.

    Args:
        environment: what the commands need.
        inherited: variables that every terminal has; they are left out.
        more: further variables, such as URL and KEY.
    """
    own = {name: value for name, value in environment.items() if inherited.get(name) != value}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted((own | more).items())]
    python = shlex.quote(str(Path(sys.executable).parent))
    text = "\n".join(("# Written at each start; read it with `. env.sh`.", *lines))
    path = home / FILE_NAME
    write_private(path, f'{text}\nexport PATH={python}:"$PATH"\n')
    return path
