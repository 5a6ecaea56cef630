"""A file for other terminals: how to reach what runs here, as exported shell variables."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from standalone.files import write_private

FILE_NAME = "env.sh"


def write_shell_file(
    home: Path, environment: Mapping[str, str], inherited: Mapping[str, str], **more: str
) -> Path:
    """Write `env.sh` into the home, for `. env.sh`; give its path. It holds secrets: owner only.

    Args:
        environment: what the commands need.
        inherited: what every terminal has anyway, which is left out.
        more: further variables, such as URL and KEY.
    """
    own = {name: value for name, value in environment.items() if inherited.get(name) != value}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted((own | more).items())]
    python = shlex.quote(str(Path(sys.executable).parent))
    text = "\n".join(("# Made anew at each start; `. env.sh` in a terminal.", *lines))
    path = home / FILE_NAME
    write_private(path, f'{text}\nexport PATH={python}:"$PATH"\n')
    return path
