"""`photo-archive`, which kills itself at a step (photo_archive/backing/steps.py).

`python -m tests.integration.photo_archive.dying restore.swapped restore /mnt/backup`
"""

import os
import signal
import sys

from core import failpoints
from photo_archive.app import main


def kill_at(step: str) -> None:
    """Let this process die when it reaches a step."""

    def spring(point: str) -> None:
        if point == step:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.arm(spring)


if __name__ == "__main__":
    kill_at(sys.argv.pop(1))
    main()
