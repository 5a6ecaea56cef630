"""Addresses in settings: which are taken, and that no word about a wrong one tells a secret."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.addresses import each_host, secrets_of, shown
from core.errors import ConfigurationError
from core.settings import (
    ArchiveSettings,
    DatabaseSettings,
    EgressSettings,
    IngressSettings,
    KafkaSettings,
    SecretSettings,
    Settings,
    TelemetrySettings,
    load,
)
from core.webhooks.signing_secrets import SecretBox

S3CR = "S3cr"  # what no message may hold, nor what follows it in a password

WRONG = [
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3cr#tPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3cr/tPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3cr?tPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3cr@tPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3cr tPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:1234/S3crtPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql:app:S3crtPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "app:S3crtPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "mysql://app:S3crtPW@h/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3crtPW@h:port/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://app:S3crtPW@h:99999/db"),
    (DatabaseSettings, "DATABASE_URL", "postgresql://h:S3crtPW/db"),
    (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "app:S3crtPW@h:9092,h:abc"),
    (EgressSettings, "EGRESS_PROXY", "http://app:S3cr#tPW@h:80"),
    (EgressSettings, "EGRESS_PROXY", "http://app:S3cr/tPW@h:80"),
    (EgressSettings, "EGRESS_PROXY", "app:S3crtPW@h:80"),
    (EgressSettings, "EGRESS_PROXY", "http://h:S3crtPW"),
    (TelemetrySettings, "TELEMETRY_OTLP_ENDPOINT", "https://app:S3cr#tPW@h"),
    (ArchiveSettings, "ARCHIVE_PUBLIC_URL", "https://app:S3cr#tPW@h"),
    (ArchiveSettings, "ARCHIVE_BLOBS", "s3://AKIA:S3crtPW@bucket/x"),
    (ArchiveSettings, "ARCHIVE_BUCKETS", "az://container?sv=1&sig=S3crtPW"),
]


@pytest.mark.parametrize(("group", "variable", "value"), WRONG)
def test_a_wrong_address_is_told_by_its_variable_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, group: type[Settings], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        load(group)

    told = str(caught.value)
    assert told.startswith(f"{variable}: ")
    assert len(told.splitlines()) == 1
    assert S3CR not in told
    assert "tPW" not in told
    # A traceback shows the causes too, and they hold the value.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:app@127.0.0.1:15432/photo_archive",
        "postgres://app:S3cr%23t%40PW%2F@db.example/photos",
        "postgresql://app@[::1]:5432/photos?sslmode=require",
        "postgresql://app@[::1]/photos",
        "postgresql://app:x:y@one:5432,two:5433/photos?target_session_attrs=read-write",
        "postgresql:///photos?host=/run/postgresql",
        "postgresql://app@/photos?host=/run/postgresql&password=x",
    ],
)
def test_addresses_of_postgresql_are_taken(url: str) -> None:
    assert DatabaseSettings.model_validate({"url": url}).url.get_secret_value() == url


def test_none_is_no_pooler_over_what_the_env_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DATABASE_POOLER_URL=postgresql://app@elsewhere/photos\n")
    assert "elsewhere" in load(DatabaseSettings).pooler_url.get_secret_value()

    monkeypatch.setenv("DATABASE_POOLER_URL", "none")

    assert load(DatabaseSettings).pooler_url.get_secret_value() == ""


@pytest.mark.parametrize("attribute", ["standby", "prefer-standby", "read-only"])
def test_an_address_that_asks_for_a_standby_is_refused(attribute: str) -> None:
    url = f"postgresql://app@one,two/photos?sslmode=prefer&target_session_attrs={attribute}"

    with pytest.raises(ValidationError, match="archives are written"):
        DatabaseSettings.model_validate({"url": url})


def test_several_hosts_are_taken_apart() -> None:
    url = "postgresql://app:x%2C:y@one:5432,[::1]:5433,three/photos?sslmode=prefer"

    assert each_host(url) == (
        "postgresql://app:x%2C:y@one:5432/photos?sslmode=prefer",
        "postgresql://app:x%2C:y@[::1]:5433/photos?sslmode=prefer",
        "postgresql://app:x%2C:y@three/photos?sslmode=prefer",
    )
    assert each_host("postgresql:///photos?host=/run/postgresql") == (
        "postgresql:///photos?host=/run/postgresql",
    )


def test_the_secrets_of_an_address_with_several_hosts_are_found() -> None:
    url = "postgresql://app:S3%23cr@one:5432,[::1]:5433/photos?password=other"

    assert set(secrets_of(url)) == {"S3%23cr", "S3#cr", "other"}


@pytest.mark.parametrize("servers", ["h:9092", "a:1, b:2", "[::1]:9092", "127.0.0.1:19092"])
def test_brokers_are_taken(servers: str) -> None:
    assert KafkaSettings(bootstrap_servers=servers).bootstrap_servers == servers


@pytest.mark.parametrize("servers", ["h:abc", "h", "h:", ":9092", "h:0", "h:9092,", "h:9092;b:1"])
def test_brokers_without_a_port_that_is_one_are_told(
    monkeypatch: pytest.MonkeyPatch, servers: str
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)

    with pytest.raises(ConfigurationError, match="KAFKA_BOOTSTRAP_SERVERS: must be host:port"):
        load(KafkaSettings)


@pytest.mark.parametrize(
    "given", [{}, {"KAFKA_SASL_USERNAME": "app"}, {"KAFKA_SASL_PASSWORD": "x"}]
)
def test_a_login_without_a_name_or_a_password_is_told(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    for name, value in {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **given}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=r"KAFKA_SASL_PASSWORD: .*KAFKA_SASL_USERNAME"):
        load(KafkaSettings)


@pytest.mark.parametrize("key", ["S3crtPW", "S3cr-tPW!", "ключS3crtPW", "A" * 40])
def test_a_wrong_key_is_told_without_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="SECRETS_KEY: key 1") as caught:
        SecretBox.from_settings(SecretSettings.model_validate({"key": key}))

    assert key not in str(caught.value)
    assert S3CR not in str(caught.value)


def test_what_is_wrong_without_a_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE_ROOTS", "photos=relative")

    with pytest.raises(ConfigurationError, match=r"ARCHIVE_ROOTS: .*\(got 'photos=relative'\)"):
        load(ArchiveSettings)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("many", "'many'"),
        ("s3://bucket/prefix", "'s3://bucket/prefix'"),
        ("s3://key:secret@bucket", "'…@bucket'"),
        ("az://container?sig=secret", "'az://container?…'"),
        ("x" * 300, repr("x" * 199 + "…")),
        (Path("/a"), "'/a'"),
    ],
)
def test_a_value_is_shown_without_what_could_be_a_password(value: object, told: str) -> None:
    assert shown(value) == told


def test_secrets_of_an_address_are_found_as_written_and_as_read() -> None:
    url = "postgresql://app:a%23b@h/db?sslpassword=c%40d&sslmode=require"

    assert set(secrets_of(url)) == {"a%23b", "a#b", "c%40d", "c@d"}


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            "https://a.example, http://localhost:3000",
            ("https://a.example", "http://localhost:3000"),
        ),
    ],
)
def test_origins_are_taken(text: str, origins: tuple[str, ...]) -> None:
    assert IngressSettings(cors_origins=text).origins() == origins


@pytest.mark.parametrize(
    "text", ["page.example", "https://page.example/", "https://a.example,*", "ftp://a.example"]
)
def test_what_is_no_origin_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("INGRESS_CORS_ORIGINS", text)

    with pytest.raises(ConfigurationError, match="INGRESS_CORS_ORIGINS: must"):
        load(IngressSettings)
