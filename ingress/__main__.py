"""python -m ingress: serve HTTP until SIGTERM.

With --held it loads and then reads the rest of its environment from standard input (JSON); with
--listening it serves on a socket that it inherits.

Exit codes: 0 stopped as asked; 1 something outside is away; 2 a wrong setting. A signal that comes
before it has loaded ends it at once.
"""

import argparse
import asyncio
import sys

import uvloop

from core.errors import ConfigurationError, PhotoTaggerError
from core.settings import TelemetrySettings, load
from core.starting import HELD, LISTENING, end_at_once_when_told, released
from core.telemetry import logs, tracing


async def _serve(*, is_held: bool, listening: int | None) -> None:
    from ingress.main import serve  # here: it takes a second, in which a signal should end us

    await released(is_held=is_held)
    await serve(listening)


def main() -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ingress", description=__doc__)
    parser.add_argument(HELD, action="store_true", help="wait before servers are used")
    parser.add_argument(LISTENING, type=int, metavar="FD", help="the socket to serve on")
    wanted = parser.parse_args()
    end_at_once_when_told()
    try:
        logs.configure(load(TelemetrySettings), process="ingress")
        tracing.configure(load(TelemetrySettings), process="ingress")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(is_held=wanted.held, listening=wanted.listening))
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    except (PhotoTaggerError, OSError) as error:
        print(f"ingress: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
