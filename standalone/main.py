"""What `photo-archive up`, `demo` and `servers` do: real Kafka and PostgreSQL here, and the roles.

Ctrl-C or SIGTERM stops everything; a second one does it at once.
"""

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from standalone.demo.main_job import Wish, run_demo
from standalone.shell import write_shell_file
from standalone.supervision.planning import make_plan
from standalone.supervision.supervisor import Supervisor


def say(message: str) -> None:
    """Print a message to the terminal on standard error; standard output is for results."""
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


def run_servers() -> int:
    """Run Kafka and PostgreSQL alone; print the settings that lead to them."""
    with Supervisor(make_plan(model="unused"), say=say) as supervisor:
        stop_on_signals(supervisor.kill)
        supervisor.start_servers()
        print(f"DATABASE_URL={supervisor.postgres.url}")
        print(f"KAFKA_BOOTSTRAP_SERVERS={supervisor.kafka.bootstrap}", flush=True)
        say("Kafka and PostgreSQL are up; Ctrl-C stops them")
        supervisor.wait()
    return 0


def run_up(watched: Path | None) -> int:
    """Run servers, schema, topics and all roles until asked to stop."""
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
    return 0


def run_the_demo(photos: Path | None, *, once: bool, model: str) -> int:
    """Run the demo; return its exit code."""
    wish = Wish(photos.expanduser() if photos else None, once, model)
    return run_demo(wish, say=say, stop_on=lambda running: stop_on_signals(running.kill))
