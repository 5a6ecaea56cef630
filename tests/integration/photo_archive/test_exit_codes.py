"""How a command ends that cannot do what it was asked: one line, and the exit code says why."""

from uuid import UUID, uuid4

import pytest

from tests.command import run_command

NOBODY = "postgresql://app:app@127.0.0.1:1/x"
KEY = "k" * 43 + "="


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "list"), ("endpoints", "list"), ("labels", "list"), ("letters", "list"),
        ("targets", "list"), ("deliveries", "redeliver", "--host", "a"),
        ("retag", "--all"), ("migrate",),
        ("keys", "revoke", "x"), ("endpoints", "remove", str(UUID(int=7))),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_database_that_is_away_is_1(words: tuple[str, ...]) -> None:
    done = run_command(*words, DATABASE_URL=NOBODY, SECRETS_KEY=KEY)

    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("DatabaseAway: ")


@pytest.mark.parametrize("words", [("keys", "list"), ("migrate",), ("up",)], ids=" ".join)
def test_a_wrong_setting_is_2_and_named(words: tuple[str, ...]) -> None:
    done = run_command(*words, DATABASE_POOL_SIZE="none", STANDALONE_HOME="/proc/nowhere")

    assert (done.returncode, done.stdout) == (2, "")
    assert ("STANDALONE_HOME" if words == ("up",) else "DATABASE_POOL_SIZE") in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_to_do_is_1(database_url: str) -> None:
    endpoint = run_command("endpoints", "remove", str(uuid4()), DATABASE_URL=database_url)
    assert endpoint.returncode == 1
    assert "photo-archive endpoints list" in endpoint.stderr

    key = run_command("keys", "revoke", "nothing", DATABASE_URL=database_url)
    assert (key.returncode, key.stderr) == (1, "no usable key nothing\n")


def test_done_is_0(kafka_bootstrap: str, topics_prefix: str, empty_database_url: str) -> None:
    done = run_command(
        "migrate",
        DATABASE_URL=empty_database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka_bootstrap,
        KAFKA_TOPIC_PREFIX=topics_prefix,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("migrations: schema, labels, topics: up to date\n")
