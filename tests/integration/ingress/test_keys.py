"""Keys and signing secrets on real PostgreSQL, by the functions and the command line."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import timedelta

import asyncpg
import pytest

from core.errors import ConfigurationError
from core.settings import DatabaseSettings, SecretSettings, load
from core.storage import keys as table
from core.storage.pool import open_pool
from core.webhooks.signing_secrets import SecretBox, make_key
from ingress import commands
from ingress.auth.api_keys import Scope, digest_of
from tests.integration.ingress.test_server import run_keys


async def test_a_key_is_kept_as_its_digest_only(
    environment: Callable[..., None], database_url: str
) -> None:
    made = await commands.create(commands.KeyRequest("alice", "laptop"), if_absent=False)

    assert made is not None
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow("SELECT * FROM api_keys")
    secret = await connection.fetchrow("SELECT * FROM signing_secrets")
    await connection.close()
    assert row is not None
    assert secret is not None
    assert row["digest"] == digest_of(made.key)
    assert made.key not in str(dict(row))
    assert (row["owner"], row["name"]) == ("alice", "laptop")
    assert made.signing_secret is not None
    assert made.signing_secret.encode() not in secret["secret"]
    box = SecretBox.from_settings(load(SecretSettings))
    assert box.open(secret["secret"].decode(), owner="alice") == made.signing_secret


async def test_the_second_key_of_an_owner_keeps_the_signing_secret(
    environment: Callable[..., None],
) -> None:
    await commands.create(commands.KeyRequest("alice"), if_absent=False)

    second = await commands.create(commands.KeyRequest("alice"), if_absent=False)

    assert second is not None
    assert second.signing_secret is None
    assert len(await commands.list_keys("alice")) == 2


async def test_if_absent_makes_one_key_also_when_asked_at_once(
    environment: Callable[..., None],
) -> None:
    wanted = commands.KeyRequest("alice", "first")

    made = await asyncio.gather(*(commands.create(wanted, if_absent=True) for _ in range(8)))

    assert sum(one is not None for one in made) == 1
    assert len(await commands.list_keys(None)) == 1


async def test_an_ended_key_does_not_count_as_there(environment: Callable[..., None]) -> None:
    wanted = commands.KeyRequest("alice", lasts=timedelta(seconds=-1))
    await commands.create(wanted, if_absent=True)
    revoked = await commands.create(commands.KeyRequest("alice"), if_absent=True)
    assert revoked is not None
    assert await commands.revoke(revoked.key_id)

    assert await commands.create(commands.KeyRequest("alice"), if_absent=True) is not None


async def test_an_old_signing_secret_signs_for_a_day_beside_the_new_one(
    environment: Callable[..., None], database_url: str
) -> None:
    await commands.create(commands.KeyRequest("alice"), if_absent=False)
    fresh = await commands.rotate_secret("alice")

    connection = await asyncpg.connect(database_url)
    sealed = await table.signing_secrets(connection, "alice")
    ends = await connection.fetch(
        "SELECT expires_at - now() AS rest FROM signing_secrets ORDER BY id"
    )
    await connection.close()
    box = SecretBox.from_settings(load(SecretSettings))
    assert len(sealed) == 2
    assert box.open(sealed[0].decode(), owner="alice") == fresh
    assert timedelta(hours=23) < ends[0]["rest"] <= timedelta(hours=24)
    assert ends[1]["rest"] is None


async def test_without_the_instances_key_no_key_is_made(
    environment: Callable[..., None],
) -> None:
    environment(SECRETS_KEY="")

    with pytest.raises(ConfigurationError, match="SECRETS_KEY"):
        await commands.create(commands.KeyRequest("alice"), if_absent=False)


def test_the_command_line_speaks_json(environment: Callable[..., None]) -> None:
    made = json.loads(run_keys("create", "--owner", "demo", "--days", "30", "--json").stdout)
    again = json.loads(run_keys("create", "--owner", "demo", "--if-absent", "--json").stdout)
    listed = json.loads(run_keys("list", "--json").stdout)
    rotated = json.loads(run_keys("signing-secret", "--owner", "demo", "--json").stdout)

    assert made["created"] is True
    assert made["key"].startswith(f"pa_{made['key_id']}_")
    assert made["signing_secret"].startswith("whsec_")
    assert made["scopes"] == [Scope.UPLOAD, Scope.QUERY, Scope.READ]
    assert again == {"created": False}
    assert [row["key_id"] for row in listed] == [made["key_id"]]
    assert "digest" not in listed[0]
    assert rotated["signing_secret"] != made["signing_secret"]


def test_the_command_line_speaks_to_people(environment: Callable[..., None]) -> None:
    made = run_keys("create", "--owner", "demo")
    listed = run_keys("list")

    assert "shown once" in made.stdout
    assert "demo" in listed.stdout
    assert "usable" in listed.stdout


def test_a_fresh_value_for_the_instances_key_can_be_used(
    environment: Callable[..., None],
) -> None:
    done = run_keys("secret")
    environment(SECRETS_KEY=done.stdout.strip())

    assert SecretBox.from_settings(load(SecretSettings)).derived_keys("links")
    assert os.environ["SECRETS_KEY"] != run_keys("secret").stdout.strip()


def test_with_the_database_away_the_exit_code_is_1(environment: Callable[..., None]) -> None:
    environment(DATABASE_URL="postgresql://app:app@127.0.0.1:1/nothing")

    done = run_keys("list")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr


async def test_after_resealing_the_old_key_of_the_instance_may_go(
    environment: Callable[..., None],
) -> None:
    old, new = make_key(), make_key()
    environment(SECRETS_KEY=old)
    secrets = {}
    for owner in ("alice", "bob", "carol"):
        made = await commands.create(commands.KeyRequest(owner), if_absent=False)
        assert made is not None
        secrets[owner] = made.signing_secret
    environment(SECRETS_KEY=f"{new},{old}")
    await commands.rotate_secret("bob")
    portions: list[commands.Resealed] = []

    done = await commands.reseal(portions.append, portion=2)
    again = await commands.reseal()

    assert done == commands.Resealed(fresh=1, sealed=3)
    assert len(portions) == 2
    assert again == commands.Resealed(fresh=4, sealed=0)
    environment(SECRETS_KEY=new)
    box = SecretBox.from_settings(load(SecretSettings))
    async with open_pool(load(DatabaseSettings)) as pool:
        for owner, secret in secrets.items():
            kept = await table.signing_secrets(pool, owner)
            assert box.open(kept[-1].decode(), owner=owner) == secret


async def test_a_secret_that_no_key_opens_is_named_and_left(
    environment: Callable[..., None],
) -> None:
    environment(SECRETS_KEY=make_key())
    await commands.create(commands.KeyRequest("lost"), if_absent=False)
    environment(SECRETS_KEY=make_key())
    await commands.create(commands.KeyRequest("alice"), if_absent=False)

    done = await asyncio.to_thread(run_keys, "reseal", "--json")

    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["fresh"], told["sealed"]) == (1, 0)
    assert "lost: SECRETS_KEY" in done.stderr
