"""`python -m migrations` with addresses of the database, good and wrong."""

import os
import subprocess
import sys

import pytest

from tests.servers import REPOSITORY, at_database


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migrations", "schema"],
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_address_may_have_options(empty_database_url: str) -> None:
    done = migrate(f"{empty_database_url}?sslmode=prefer&application_name=setup")

    assert (done.returncode, done.stderr) == (0, "")


def wrong_password(url: str) -> str:
    before, _, after = url.rpartition("@")
    return f"{before}x@{after}"


@pytest.mark.parametrize("change", ["password", "database", "scheme", "port"])
def test_a_wrong_address_is_named_with_exit_code_2(postgres_url: str, change: str) -> None:
    url = {
        "password": wrong_password(postgres_url),
        "database": at_database(postgres_url, "nowhere"),
        "scheme": postgres_url.replace("postgresql:", "mysql:"),
        "port": "postgresql://app@127.0.0.1:port/x",
    }[change]

    done = migrate(url)

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("configuration: DATABASE_URL: ")
    assert len(done.stderr.splitlines()) == 1, "no traceback"


def test_a_database_that_is_away_is_no_wrong_setting() -> None:
    done = migrate("postgresql://app:app@127.0.0.1:1/x")

    assert done.returncode == 1
    assert done.stderr.startswith("migrations: ")
