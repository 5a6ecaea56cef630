"""A shell file that tells other terminals how to reach this archive."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from core.settings import all_variables
from standalone.files import write_private

FILE_NAME = "env.sh"


def write_shell_file(
    home: Path, environment: Mapping[str, str], inherited: Mapping[str, str], **more: str
) -> Path:
    """Write `env.sh` into the home, for `. env.sh`; return its path.

    It holds secrets, so only its owner can read it.

    Args:
        environment: what the commands need.
        inherited: variables that the terminal of this start had. Those that are no settings are
            left out, since every terminal has its own; a setting is written, wherever it came from.
        more: further variables, such as URL and KEY.
    """
    # A model that was chosen here is chosen again at each start, when its weights may have come.
    chosen = {"TAGGING_MODEL"} - inherited.keys()
    settings = all_variables()
    own = {
        name: value
        for name, value in environment.items()
        if name not in chosen and (name in settings or inherited.get(name) != value)
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted((own | more).items())]
    python = shlex.quote(str(Path(sys.executable).parent))
    text = "\n".join(("# Written at each start; read it with `. env.sh`.", *lines))
    path = home / FILE_NAME
    write_private(path, f'{text}\nexport PATH={python}:"$PATH"\n')
    return path


def read_shell_file(home: Path) -> dict[str, str]:
    """Return the settings that the last start wrote for other terminals; none before the first."""
    path = home / FILE_NAME
    if not path.exists():
        return {}
    words = (word.partition("=") for word in shlex.split(path.read_text(), comments=True))
    settings = all_variables()
    return {name: value for name, _, value in words if name in settings}
