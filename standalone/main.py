"""What `photo-archive up`, `demo` and `servers` do: real Kafka and PostgreSQL here, and the roles.

Ctrl-C or SIGTERM stops everything; a second one does it at once.
"""

import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx

from standalone.demo.archive_client import ArchiveClient, ArchiveFailed
from standalone.demo.kept_keys import both_keys
from standalone.demo.main_job import Wish, run_demo
from standalone.demo.ways_in import READY_TIMEOUT_S
from standalone.kafka.membership import ALONE
from standalone.shell import write_shell_file
from standalone.signals import run_until_told
from standalone.signs import SignsOfLife
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.planning import make_plan
from standalone.supervision.supervisor import Supervisor


def say(message: str) -> None:
    """Print a message to the terminal on standard error; standard output is for results."""
    print(message, file=sys.stderr, flush=True)


def run_servers(brokers: int | None) -> int:
    """Run Kafka and PostgreSQL alone; print the settings that lead to them."""
    with Supervisor(make_plan(model="unused", brokers=brokers), say=say) as supervisor:

        def work() -> int:
            with SignsOfLife(say, supervisor.waits_for):
                supervisor.start_servers()
            print(f"DATABASE_URL={supervisor.postgres.url}")
            for name, value in supervisor.kafka.environment.items():
                print(f"{name}={value}")
            sys.stdout.flush()
            say(f"{_servers(supervisor)} and PostgreSQL are up; Ctrl-C stops them")
            supervisor.wait()
            return 0

        return run_until_told(work, stop=supervisor.stop, kill=supervisor.kill, say=say)


def run_up(watched: Path | None, brokers: int | None, *, standby: bool = False) -> int:
    """Run servers, schema, topics and all roles until asked to stop."""
    plan = replace(make_plan(watched=watched, brokers=brokers), standby=standby)
    with Supervisor(plan, say=say) as supervisor:

        def work() -> int:
            say(f"model: {plan.model.model} ({plan.model.reason})")
            with SignsOfLife(say, supervisor.waits_for):
                supervisor.start()
            say(f"{_servers(supervisor)} and PostgreSQL are up")
            _say_ways_in(plan, supervisor)
            supervisor.wait()
            return 0

        return run_until_told(work, stop=supervisor.stop, kill=supervisor.kill, say=say)


def _say_ways_in(plan: StandalonePlan, supervisor: Supervisor) -> None:
    """Tell how to reach the archive once it listens; it is up even where that fails."""
    home, environment, url = plan.settings.home, supervisor.environment(), supervisor.ingress_url
    check = partial(supervisor.wait, 0.0)  # raises where a server or the ingress is lost
    keys: dict[str, str] = {}
    link = ""
    try:
        with SignsOfLife(say, lambda: "the ingress to take requests"):
            access, admin = both_keys(home, environment, check)
            keys = {"KEY": access.key, "WEBHOOK_SECRET": access.signing_secret, "ADMIN": admin}
            with ArchiveClient(url, admin, plan.certificate, check) as archive:
                archive.wait_until_ready(READY_TIMEOUT_S)
                link = archive.page_link()
    except (ArchiveFailed, httpx.HTTPError, OSError) as error:
        say(f"no link to the page: {error}")
    shell_file = write_shell_file(home, environment, plan.inherited, URL=url, **keys)
    say(f"up: {url}, logs in {home / 'logs'}; Ctrl-C stops it")
    say(f"in another terminal:  . {shlex.quote(str(shell_file))}")
    if link:
        say(f"the page:  {link}")
        say("  signs you in, once and within ten minutes; photo-archive link makes another")


def _servers(supervisor: Supervisor) -> str:
    """Return what Kafka is, for a person."""
    count = len(supervisor.kafka.brokers)
    return "Kafka" if count == ALONE else f"Kafka's {count} brokers"


def run_the_demo(photos: Path | None, *, once: bool, model: str, brokers: int | None) -> int:
    """Run the demo; return its exit code."""
    wish = Wish(photos.expanduser() if photos else None, once, model, brokers)
    return run_demo(wish, say=say)
