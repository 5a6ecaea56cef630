"""A one-time link from the command line to a signed-in page, over the wire, until the key ends."""

import json
import re
import time
from collections.abc import Callable

import httpx

from ingress.auth.sessions import LOOPBACK_COOKIE, TOKEN_HEADER
from tests.command import run_command
from tests.integration.ingress.conftest import Running
from tests.integration.ingress.test_server import make_key, run_keys
from tests.lit_html import lit_html_jar

ENDS_WITHIN_S = 15  # from revoking a key to the end of its sessions
PATIENCE_S = 60  # of a machine that is busy


def test_a_link_of_the_command_line_signs_in_once_and_the_end_of_its_key_ends_it(
    start: Callable[..., Running],
) -> None:
    server = start(
        ARCHIVE_PUBLIC_URL="",
        TELEMETRY_LOG_LEVEL="debug",
        INGRESS_LIT_HTML=str(lit_html_jar()),
    )
    key = make_key()
    key_id = key.split("_")[1]
    made = run_command("link", INGRESS_PORT=str(server.port), ARCHIVE_PUBLIC_URL="")
    address, _, code = made.stdout.strip().partition("/#code=")
    assert (made.returncode, address) == (0, server.url)
    assert f"key {key_id}" in made.stderr

    with httpx.Client(base_url=server.url, headers={"Sec-Fetch-Site": "same-origin"}) as http:
        shell = http.get("/")
        assert re.search(r"/page/[0-9a-f]{16}/main\.js", shell.text)
        begun = http.post("/session", json={"code": code})
        assert begun.status_code == 200, begun.text
        token = begun.json()["token"]
        again = http.post("/session", json={"code": code})
        assert again.json()["code"] == "key_invalid"
        assert http.get("/images").status_code == 200
        value = http.cookies[LOOPBACK_COOKIE]

        assert run_keys("revoke", key_id).returncode == 0
        revoked_at = time.monotonic()
        while (answer := http.get("/session")).status_code == 200:
            assert time.monotonic() - revoked_at < PATIENCE_S
            time.sleep(0.1)
        assert answer.json()["code"] == "session_missing"
        assert time.monotonic() - revoked_at < ENDS_WITHIN_S
        http.headers[TOKEN_HEADER] = token
        assert http.post("/session/link").json()["code"] == "session_missing"

    log = server.log.read_text()
    assert "/session" in log
    for secret in (code, key, value, token):
        assert secret not in log


def test_a_link_has_the_rights_of_the_key_that_is_named_else_of_one_that_may_do_everything(
    start: Callable[..., Running],
) -> None:
    start()
    admin = json.loads(run_keys("create", "--owner", "a", "--scopes", "admin", "--json").stdout)
    other = json.loads(run_keys("create", "--owner", "b", "--json").stdout)

    everything = run_command("link")
    not_everything = run_command("link", other["key_id"])
    newest = json.loads(run_command("link", "--json").stdout)
    named = json.loads(run_command("link", other["key_id"], "--json").stdout)
    run_keys("revoke", other["key_id"])
    gone = run_command("link", other["key_id"])

    assert (newest["key_id"], newest["owner"]) == (admin["key_id"], "a")
    assert (named["key_id"], named["scopes"]) == (other["key_id"], ["upload", "query", "read"])
    assert newest["url"].startswith("http://archive/#code=")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert f"no usable key {other['key_id']}" in gone.stderr
    assert "lacks" not in everything.stderr
    assert "it lacks paths, admin" in not_everything.stderr
    assert "keys create --owner b --scopes admin" in not_everything.stderr
