"""The ways into the archive: its keys, the file for other terminals, the link to the page."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import httpx

from standalone.demo.archive_client import ArchiveClient, ArchiveFailed
from standalone.demo.kept_keys import Credentials, both_keys
from standalone.demo.showing import Stopwatch
from standalone.shell import write_shell_file
from standalone.signs import SignsOfLife
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.supervisor import Supervisor

# Ten times what a machine of two cores that has nothing else to do has ever taken.
READY_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class WaysIn:
    """How to reach the archive.

    Attributes:
        url: its address.
        access: the demo's key.
        admin: a key that may do everything.
        shell_file: tells all of it to other terminals.
    """

    url: str
    access: Credentials
    admin: str
    shell_file: Path


def open_ways_in(plan: StandalonePlan, supervisor: Supervisor, clock: Stopwatch) -> WaysIn:
    """Make the keys, tell them to other terminals, and wait until the archive takes requests.

    Raises:
        ArchiveFailed: no key could be made, or the ingress was not ready in time.
        ConfigurationError: a process is not started again; the message is the reason.
    """
    home, environment, url = plan.settings.home, supervisor.environment(), supervisor.ingress_url
    wanted = plan.settings.ingress_port
    if not url.endswith(f":{wanted}"):
        clock.say(f"port {wanted} is taken: the archive is at {url}")
    with SignsOfLife(clock.say_plainly, lambda: "keys to be made"):
        access, admin = both_keys(home, environment, supervisor.check)
    keys = {"KEY": access.key, "WEBHOOK_SECRET": access.signing_secret, "ADMIN": admin}
    shell_file = write_shell_file(home, environment, plan.inherited, URL=url, **keys)
    with (
        ArchiveClient(url, access.key, plan.certificate, supervisor.check) as archive,
        SignsOfLife(clock.say_plainly, lambda: "the ingress to take requests"),
    ):
        archive.wait_until_ready(READY_TIMEOUT_S)
    clock.say(
        f"the archive takes requests at {url}; sending photos. Into the page, in another terminal:"
    )
    clock.say(f"  . {shlex.quote(str(shell_file))} && photo-archive link")
    return WaysIn(url, access, admin, shell_file)


def page_link(ways: WaysIn, plan: StandalonePlan) -> str:
    """Return a link to the page that may do everything; empty where none could be made."""
    try:
        with ArchiveClient(ways.url, ways.admin, plan.certificate) as archive:
            return archive.page_link()
    except (ArchiveFailed, httpx.HTTPError):
        return ""  # the archive is up all the same
