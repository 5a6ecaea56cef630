"""The keys that the standalone mode makes for whoever runs it, and keeps in its home."""

from pathlib import Path

from core.webhooks.signing_secrets import make_key
from standalone.demo.kept_keys import admin_key, credentials


def test_the_demo_gets_its_signing_secret_also_after_an_archive_that_was_only_up(
    database_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": database_url, "SECRETS_KEY": make_key()}

    admin = admin_key(tmp_path, environment)  # all that `up` asks for
    access = credentials(tmp_path, environment)

    assert access.signing_secret.startswith("whsec_")
    assert access.key != admin
    assert admin_key(tmp_path, environment) == admin
    assert credentials(tmp_path, environment) == access
