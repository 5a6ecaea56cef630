"""An archive that only shows: real servers and the ingress, with photos made in the database."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from benchmarks.harness.gallery import Gallery, fill
from benchmarks.harness.roles import FIRST_PORT, STOP_S, servers
from standalone.demo.archive_client import ArchiveClient
from standalone.demo.kept_keys import COMMAND
from standalone.ports import choose_port
from tests.lit_html import lit_html_jar

READY_S = 120.0
#: Contents with a thumbnail, of which all photos are: the browser decodes as many as in real life.
PICTURES = 200


@dataclass(frozen=True, slots=True)
class Site:
    """A running ingress.

    Attributes:
        key: may read everything.
        photos: how many there are.
    """

    url: str
    key: str
    photos: int

    def link(self) -> str:
        """Return a one-time link into the page."""
        answer = httpx.post(
            f"{self.url}/session/link", headers={"X-API-Key": self.key}, trust_env=False
        )
        url: str = answer.raise_for_status().json()["url"]
        return url


@contextmanager
def gallery_site(photos: int) -> Iterator[Site]:
    """Start servers and an ingress with so many photos; stop them with the block."""
    with servers() as at:
        asyncio.run(fill(at.admin, Gallery(photos, pictures=PICTURES)))
        port = choose_port(FIRST_PORT + 40)
        os.environ |= {
            "INGRESS_PORT": str(port),
            "INGRESS_LIT_HTML": str(lit_html_jar()),
            "INGRESS_REQUESTS_PER_SECOND": "10000",  # not what is measured here
        }
        child = subprocess.Popen([sys.executable, "-m", "ingress"])
        try:
            key = _admin_key()
            url = f"http://127.0.0.1:{port}"
            with ArchiveClient(url, key) as waiting:
                waiting.wait_until_ready(READY_S)
            yield Site(url, key, photos)
        finally:
            child.terminate()
            child.wait(STOP_S)


def _admin_key() -> str:
    made = subprocess.run(
        [COMMAND, "keys", "create", "--owner", "bench", "--scopes", "admin", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    key: str = json.loads(made.stdout)["key"]
    return key
