"""python -m ingress: serve HTTP until SIGTERM.

Exit codes: 0 stopped as asked; 1 something outside is away; 2 a wrong setting.
"""

import argparse
import asyncio
import sys

import uvloop

from core.errors import ConfigurationError, PhotoTaggerError
from core.settings import TelemetrySettings, load
from core.telemetry.logs import configure
from ingress.main import serve


def main() -> int:
    """Serve; return the exit code."""
    argparse.ArgumentParser(prog="python -m ingress", description=__doc__).parse_args()
    try:
        configure(load(TelemetrySettings), process="ingress")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    except (PhotoTaggerError, OSError) as error:
        print(f"ingress: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
