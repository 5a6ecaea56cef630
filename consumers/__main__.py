"""python -m consumers tagging | query | delivery | reset GROUP | deliveries redeliver, hosts.

A role runs until SIGTERM; the other commands do one thing and end.
Exit codes: 0 stopped as asked; 2 a setting cannot be worked with; anything else: a part of the
process ended by itself, and the supervisor starts it again.
"""

import argparse
import asyncio
import os
import signal
import sys

import structlog
import uvloop

from consumers import reset
from consumers.delivery import commands as operating
from core.errors import ConfigurationError, TransientError
from core.settings import TelemetrySettings, load
from core.telemetry import logs, tracing

ROLES = ("tagging", "query", "delivery")
log = structlog.get_logger(__name__)


async def _run(role: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_stop, stop)
    # Imported here: torch and spaCy belong to the one process that needs them.
    match role:
        case "tagging":
            from consumers.tagging.main import main
        case "query":
            from consumers.query.main import main
        case _:
            from consumers.delivery.main import main
    await main(stop)


def _asked_to_stop(stop: asyncio.Event) -> None:
    """The first signal asks, the second gives up: what is in flight is done again later."""
    if stop.is_set():
        os._exit(1)
    stop.set()


def main() -> int:
    """Run one role; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m consumers")
    commands = parser.add_subparsers(dest="command", required=True)
    for role in ROLES:
        commands.add_parser(role, help=f"run the {role} role until SIGTERM")
    again = commands.add_parser("reset", help="let a group go on at its log's start, or its end")
    again.add_argument("group", choices=ROLES)
    again.add_argument("--to-end", action="store_true", help="skip everything that is there")
    operating.add_commands(commands.add_parser("deliveries", help="webhooks again; hosts"))
    options = parser.parse_args()
    try:
        if options.command == "reset":
            return reset.run(options.group, to_end=options.to_end)
        if options.command == "deliveries":
            return operating.run(options)
        logs.configure(load(TelemetrySettings), process=options.command)
        tracing.configure(load(TelemetrySettings), process=options.command)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(options.command))
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
    for error in errors:
        print(f"configuration: {error}", file=sys.stderr)
    return 2


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    sys.exit(main())
