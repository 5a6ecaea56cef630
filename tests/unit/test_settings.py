"""Settings: what is read, and which variables stop a process at start."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import (
    GROUPS,
    ArchiveSettings,
    DeliverySettings,
    IngressSettings,
    KafkaSettings,
    QuerySettings,
    RetentionSettings,
    base_url,
    load,
    variables,
)
from core.variables import SUCCESSORS, find_unknown

MOST = 94
KNOWN = frozenset(name for group in GROUPS for name in variables(group).values())


def test_there_are_no_more_settings_than_an_operator_can_read() -> None:
    assert len(KNOWN) <= MOST, (
        "make one a constant, or raise MOST and say in the commit why an operator must know one"
        ' more (CONTRIBUTING, "a setting")'
    )


def test_a_wrong_value_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_JOBS_DAYS", "soon")

    with pytest.raises(ConfigurationError, match=r"RETENTION_JOBS_DAYS: .*'soon'"):
        load(RetentionSettings)


@pytest.mark.parametrize("value", ["5,abc", "5,,6", "-1", "nan", "inf"])
def test_a_schedule_is_refused_in_our_words(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_SCHEDULE_S", value)

    with pytest.raises(ConfigurationError, match="must be delays in seconds, separated by"):
        load(DeliverySettings)


def test_an_address_that_is_wrong_as_a_whole_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost")
    with pytest.raises(ConfigurationError) as alone:
        load(KafkaSettings)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:9092,localhost")
    with pytest.raises(ConfigurationError) as among:
        load(KafkaSettings)

    assert str(alone.value).count("localhost") == 1
    assert "'localhost' is not" in str(among.value)


@pytest.mark.parametrize("missing", ["certfile", "keyfile"])
def test_the_file_of_tls_that_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    there = tmp_path / "there.pem"
    there.touch()
    files = {"ssl_certfile": there, "ssl_keyfile": there, f"ssl_{missing}": tmp_path / "none.pem"}
    settings = IngressSettings.model_construct(**files)  # type: ignore[arg-type]  # some fields

    with pytest.raises(ConfigurationError) as told:
        settings.check_certificate()

    assert f"INGRESS_SSL_{missing.upper()}: {tmp_path / 'none.pem'}: No such" in str(told.value)


def test_files_that_are_no_certificate_and_key_are_named(tmp_path: Path) -> None:
    there = tmp_path / "there.pem"
    there.touch()
    settings = IngressSettings.model_construct(ssl_certfile=there, ssl_keyfile=there)

    with pytest.raises(ConfigurationError, match=r"there\.pem are no certificate and its key"):
        settings.check_certificate()


def test_a_variable_of_an_earlier_version_stops_any_process_and_names_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DELIVERY_ALLOW_HTTP", "true")
    monkeypatch.setenv("OUTBOX_SWEEP_INTERVAL_S", "5")

    with pytest.raises(ConfigurationError) as caught:
        load(QuerySettings)  # neither group is this one's

    assert "DELIVERY_ALLOW_HTTP is EGRESS_ALLOW_HTTP now" in str(caught.value)
    assert "OUTBOX_SWEEP_INTERVAL_S is a constant now" in str(caught.value)


def test_a_variable_in_the_env_file_is_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("# mine\nTAGGING_MODLE=demo\nPHOTOS_DIR=/photos\n")

    with pytest.raises(ConfigurationError, match="TAGGING_MODLE is no setting: is TAGGING_MODEL"):
        load(QuerySettings)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("INGRESS_PROT", "is INGRESS_PORT meant?"),
        ("ingress_prot", "INGRESS_PROT is no setting"),
        ("EGRESS_COLOUR_OF_THE_DOOR", "remove it"),
        ("INGRESS_METRICS_PORT", "is no setting"),
        ("KAFKA_BOOTSTRAP_SERVER", "is KAFKA_BOOTSTRAP_SERVERS meant?"),
        ("DATABASE_POOLSIZE", "is DATABASE_POOL_SIZE meant?"),
        ("KAFKA_REQUEST_TIMEOUT_MS", "a constant now"),
    ],
)
def test_a_variable_that_was_surely_meant_for_us_is_told(variable: str, sentence: str) -> None:
    (found,) = find_unknown({variable: "1"}, KNOWN)

    assert sentence in found


@pytest.mark.parametrize(
    "variable",
    [
        "KAFKA_HOME",
        "KAFKA_HEAP_OPTS",
        "KAFKA_ADVERTISED_LISTENERS",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
        "DATABASE_HOST",
        "DATABASE_NAME",
        "CONSUMER_KEY",
        "QUERY_STRING",
        "TELEMETRY_DISABLED",
        "INGRESS_SERVICE_HOST",
        "INGRESS_SERVICE_PORT_HTTP",
        "INGRESS_PORT_8080_TCP_ADDR",
        "DELIVERY_PORT",
        "ARCHIVE_DB_PORT_5432_TCP",
        "INGRESSION",
        "PATH",
    ],
)
def test_what_other_software_sets_is_left_alone(variable: str) -> None:
    value = "tcp://10.0.0.1:80" if variable.endswith("_PORT") else "10.0.0.1"

    assert find_unknown({variable: value}, KNOWN) == []


def test_a_port_that_is_a_service_link_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets it in every container where a service is named `ingress`."""
    monkeypatch.setenv("INGRESS_PORT", "tcp://10.96.0.12:8080")
    monkeypatch.setenv("INGRESS_SERVICE_PORT", "8080")

    assert load(IngressSettings).port == IngressSettings.model_fields["port"].default


def test_a_wrong_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRESS_PORT", "http://10.96.0.12:8080")

    with pytest.raises(ConfigurationError, match="INGRESS_PORT"):
        load(IngressSettings)


def test_a_secret_under_a_misspelt_name_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWROD", "hunter2")

    with pytest.raises(ConfigurationError, match="KAFKA_SASL_PASSWORD meant") as caught:
        load(QuerySettings)

    assert "hunter2" not in str(caught.value)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert find_unknown({"DELIVERY_CA_FILE": ""}, KNOWN) == []


def test_successors_are_settings_and_their_predecessors_are_not() -> None:
    named = {
        word
        for successor in SUCCESSORS.values()
        for word in successor.split()
        if word.isupper() and word != "PUBLISHED_PORT"  # docker-compose.yml's
    }

    assert named <= KNOWN
    assert not KNOWN & set(SUCCESSORS)


def test_links_point_to_the_public_url_or_else_to_the_ingress_itself() -> None:
    ingress = IngressSettings(host="10.0.0.1", port=9000)
    behind_a_proxy = ArchiveSettings(public_url="https://photos.example/")

    assert base_url(behind_a_proxy, ingress) == "https://photos.example"
    assert base_url(ArchiveSettings(public_url=""), ingress) == "http://10.0.0.1:9000"


@pytest.mark.parametrize(
    ("host", "link"),
    [
        ("0.0.0.0", "http://localhost:9000"),
        ("::", "http://localhost:9000"),
        ("::1", "http://[::1]:9000"),
        ("fd00::7", "http://[fd00::7]:9000"),
    ],
)
def test_links_to_an_address_are_such_as_can_be_followed(host: str, link: str) -> None:
    assert base_url(ArchiveSettings(public_url=""), IngressSettings(host=host, port=9000)) == link
