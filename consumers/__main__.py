"""python -m consumers tagging | query | delivery: one role, until SIGTERM.

A tagging process works on both lanes of arrivals, or with `--lane fresh | bulk` on one of them.
With --held it loads and then reads the rest of its environment from standard input (JSON); with
--listening it serves its metrics on a socket that it inherits.

Exit codes: 0 stopped as asked; 2 a setting is invalid; anything else: a part of the process
failed, and the supervisor restarts it. A signal that comes before it has loaded ends it at once.
"""

import argparse
import asyncio
import sys

import uvloop

from core.errors import ConfigurationError, TransientError
from core.settings import TelemetrySettings, load
from core.starting import HELD, LISTENING, Beginning, end_at_once_when_told
from core.telemetry import logs, tracing
from schemas.topics import Lane

ROLES = ("tagging", "query", "delivery")


async def _run(role: str, beginning: Beginning, lane: Lane | None) -> None:
    # Imported here: torch and spaCy belong to the one process that needs them.
    match role:
        case "tagging":
            from consumers.tagging import main as tagging

            await tagging.main(beginning, tuple(Lane) if lane is None else (lane,))
        case "query":
            from consumers.query import main as query

            await query.main(beginning)
        case _:
            from consumers.delivery import main as delivery

            await delivery.main(beginning)


def main() -> int:
    """Run one role; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m consumers", description=__doc__)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument(HELD, action="store_true", help="wait before servers are used")
    parser.add_argument(
        "--lane", type=Lane, choices=Lane, help="of tagging: work on this lane alone"
    )
    parser.add_argument(LISTENING, type=int, metavar="FD", help="the socket of its metrics")
    wanted = parser.parse_args()
    role: str = wanted.role
    if wanted.lane is not None and role != "tagging":
        parser.error("--lane is an option of tagging")
    end_at_once_when_told()
    try:
        logs.configure(load(TelemetrySettings), process=role)
        tracing.configure(load(TelemetrySettings), process=role)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            beginning = Beginning(is_held=wanted.held, listening=wanted.listening)
            runner.run(_run(role, beginning, wanted.lane))
    except TransientError as error:
        print(f"consumers: {error}", file=sys.stderr)
        return 1
    except ConfigurationError as error:
        return _misconfigured([error])
    except BaseExceptionGroup as group:  # a task's error comes out of its TaskGroup
        wrong, rest = group.split(ConfigurationError)
        if wrong is None or rest is not None:
            raise
        return _misconfigured(_leaves(wrong))
    return 0


def _misconfigured(errors: list[BaseException]) -> int:
    """Say what is wrong, of each setting the first that was found; return the exit code."""
    told: set[str] = set()
    for error in errors:
        setting = str(error).partition(":")[0]
        if setting not in told:
            print(f"configuration: {error}", file=sys.stderr)
        told.add(setting)
    return 2


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    sys.exit(main())
