"""python -m standalone servers | up | demo: real Kafka and PostgreSQL here, and the roles.

Stops everything on Ctrl-C or SIGTERM; a second one does it at once. Exit code 2: this machine or a
setting cannot be worked with; 1: something failed; 0: stopped as asked.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from core.errors import ConfigurationError, PhotoTaggerError
from standalone.demo.main_job import Wish, run_demo
from standalone.processes.planning import make_plan
from standalone.processes.supervisor import Supervisor
from standalone.shell import write_shell_file


def say(message: str) -> None:
    """Tell the person at the terminal; standard output is for results."""
    print(message, file=sys.stderr, flush=True)


def stop_on_signals(again: Callable[[], None]) -> None:
    """First signal: KeyboardInterrupt, which leaves the blocks. Each later one: `again`."""
    signals_seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal signals_seen
        signals_seen += 1
        if signals_seen > 1:
            say("stopping at once")
            again()
            return
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def run_servers() -> None:
    """Kafka and PostgreSQL alone; prints the settings to reach them."""
    with Supervisor(make_plan(model="unused"), say=say) as supervisor:
        stop_on_signals(supervisor.kill)
        supervisor.start_servers()
        print(f"DATABASE_URL={supervisor.postgres.url}")
        print(f"KAFKA_BOOTSTRAP_SERVERS={supervisor.kafka.bootstrap}", flush=True)
        say("Kafka and PostgreSQL are up; Ctrl-C stops them")
        supervisor.wait()


def run_up(watched: Path | None) -> None:
    """Servers, schema, topics and all roles, until asked to stop."""
    plan = make_plan(watched=watched)
    with Supervisor(plan, say=say) as supervisor:
        stop_on_signals(supervisor.kill)
        supervisor.start_servers()
        supervisor.migrate()
        say(f"model: {plan.model.model} ({plan.model.reason})")
        supervisor.start_roles()
        home = plan.settings.home
        shell_file = write_shell_file(
            home, supervisor.environment(), plan.inherited, URL=supervisor.ingress_url
        )
        say(f"up: {supervisor.ingress_url}, logs in {home / 'logs'}; Ctrl-C stops it")
        say(f"in another terminal:  . {shlex.quote(str(shell_file))}")
        supervisor.wait()


def run_the_demo() -> int:
    """Everything once, shown; what to do comes from make's variables."""
    photos = os.environ.get("PHOTOS", "")
    wish = Wish(
        photos=Path(photos).expanduser() if photos else None,
        once=os.environ.get("ONCE", "") not in {"", "0"},
        model=os.environ.get("MODEL", ""),
    )
    return run_demo(wish, say=say, stop_on=lambda running: stop_on_signals(running.kill))


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m standalone", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("servers", help="only Kafka and PostgreSQL; prints how to reach them")
    commands.add_parser("demo", help="the main job, shown: PHOTOS=dir ONCE=1 MODEL=demo")
    up = commands.add_parser("up", help="servers and all roles, until Ctrl-C")
    up.add_argument("--watch", type=Path, metavar="DIR", help="announce new photos in this folder")
    options = parser.parse_args(arguments)
    try:
        if options.command == "servers":
            run_servers()
        elif options.command == "demo":
            return run_the_demo()
        else:
            run_up(options.watch)
    except KeyboardInterrupt:
        say("stopped")
        return 0
    except ConfigurationError as error:
        say(f"standalone: {error}")
        return 2
    except (PhotoTaggerError, OSError) as error:
        say(f"standalone: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
