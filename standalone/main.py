"""What `photo-archive up`, `demo` and `servers` do: real Kafka and PostgreSQL here, and the roles.

Ctrl-C or SIGTERM stops everything; a second one does it at once.
"""

import shlex
import sys
from pathlib import Path

from standalone.demo.main_job import Wish, run_demo
from standalone.shell import write_shell_file
from standalone.signals import run_until_told
from standalone.supervision.planning import make_plan
from standalone.supervision.supervisor import Supervisor


def say(message: str) -> None:
    """Print a message to the terminal on standard error; standard output is for results."""
    print(message, file=sys.stderr, flush=True)


def run_servers() -> int:
    """Run Kafka and PostgreSQL alone; print the settings that lead to them."""
    with Supervisor(make_plan(model="unused"), say=say) as supervisor:

        def work() -> int:
            supervisor.start_servers()
            print(f"DATABASE_URL={supervisor.postgres.url}")
            for name, value in supervisor.kafka.environment.items():
                print(f"{name}={value}")
            sys.stdout.flush()
            say("Kafka and PostgreSQL are up; Ctrl-C stops them")
            supervisor.wait()
            return 0

        return run_until_told(work, stop=supervisor.stop, kill=supervisor.kill, say=say)


def run_up(watched: Path | None) -> int:
    """Run servers, schema, topics and all roles until asked to stop."""
    plan = make_plan(watched=watched)
    with Supervisor(plan, say=say) as supervisor:

        def work() -> int:
            say(f"model: {plan.model.model} ({plan.model.reason})")
            supervisor.start()
            home = plan.settings.home
            shell_file = write_shell_file(
                home, supervisor.environment(), plan.inherited, URL=supervisor.ingress_url
            )
            say(f"up: {supervisor.ingress_url}, logs in {home / 'logs'}; Ctrl-C stops it")
            say(f"in another terminal:  . {shlex.quote(str(shell_file))}")
            supervisor.wait()
            return 0

        return run_until_told(work, stop=supervisor.stop, kill=supervisor.kill, say=say)


def run_the_demo(photos: Path | None, *, once: bool, model: str) -> int:
    """Run the demo; return its exit code."""
    return run_demo(Wish(photos.expanduser() if photos else None, once, model), say=say)
