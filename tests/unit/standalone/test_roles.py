"""The processes of the project, and their environments."""

from dataclasses import replace
from pathlib import Path

from core.egress.targets import TargetPolicy
from core.settings import EgressSettings
from standalone.supervision.roles import (
    SharedConfiguration,
    all_roles,
    common_environment,
    role_environment,
)

SHARED = SharedConfiguration(
    home=Path("/home/of/it"),
    ingress_port=8080,
    secrets_key="key",
    archive_roots="photos=/photos",
    tagging_model="demo",
    lit_html=Path("/cache/lit-html.jar"),
)


def test_every_stage_has_its_process_and_its_own_name() -> None:
    roles = all_roles(2, Path("/inbox"))
    assert [(role.name, role.argv[1:]) for role in roles] == [
        ("tagging-0", ("consumers", "tagging")),
        ("tagging-1", ("consumers", "tagging")),
        ("ingress", ("ingress",)),
        ("query-0", ("consumers", "query")),
        ("delivery-0", ("consumers", "delivery")),
        ("jobs", ("producers", "jobs")),
        ("watch", ("producers", "watch", "/inbox")),
    ]


def test_nothing_is_watched_unless_asked_for() -> None:
    assert "watch" not in {role.name for role in all_roles(1, None)}


def test_nothing_leads_to_the_servers_of_the_users_environment() -> None:
    theirs = {
        "DATABASE_URL": "production",
        "DATABASE_POOLER_URL": "production",
        "KAFKA_BOOTSTRAP_SERVERS": "production:9092",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_PASSWORD": "of production",
        "KAFKA_SSL_CAFILE": "/their/ca.pem",
    }
    kept = {"LANG": "C", "KAFKA_SESSION_TIMEOUT_MS": "6000", "KAFKA_TOPIC_PREFIX": "mine."}
    environment = common_environment(SHARED, theirs | kept, frozenset())
    assert not theirs.keys() & environment.keys()
    assert environment.items() >= kept.items()


def test_what_loads_longest_begins_and_all_load_before_their_servers_are_up() -> None:
    roles = all_roles(1, Path("/inbox"))
    assert roles[0].name == "tagging-0"
    assert all(role.loads_first for role in roles)
    assert [role.name for role in roles if role.serves_people] == ["ingress"]


def test_callbacks_may_go_to_this_machine_unless_the_user_decided_otherwise() -> None:
    ours = common_environment(SHARED, {}, frozenset())
    policy = TargetPolicy.from_settings(
        EgressSettings(
            allow_http=ours["EGRESS_ALLOW_HTTP"] == "true",
            allowed_hosts=ours["EGRESS_ALLOWED_HOSTS"],
            allowed_ports=ours["EGRESS_ALLOWED_PORTS"],
        )
    )
    assert policy.check_url("http://127.0.0.1:9000/callback").port == 9000
    theirs = common_environment(
        SHARED, {"EGRESS_ALLOW_HTTP": "false"}, frozenset({"EGRESS_ALLOW_HTTP"})
    )
    assert theirs["EGRESS_ALLOW_HTTP"] == "false"


def test_each_role_that_serves_metrics_gets_a_port_of_its_own() -> None:
    ports = iter(range(19101, 19200))
    environments = {
        role.name: role_environment(role, {}, lambda: next(ports)) for role in all_roles(2, None)
    }
    assert environments["tagging-0"]["TELEMETRY_METRICS_PORT"] == "19101"
    assert environments["tagging-1"]["TELEMETRY_METRICS_PORT"] == "19102"
    assert environments["ingress"]["TELEMETRY_METRICS_PORT"] == "0"
    assert environments["tagging-1"]["CONSUMER_INSTANCE"] == "tagging-1"


def test_the_page_is_drawn_with_the_file_of_the_cache_unless_the_user_chose_another() -> None:
    theirs = {"INGRESS_LIT_HTML": "/their/own.jar"}

    usual = common_environment(SHARED, {}, frozenset())
    chosen = common_environment(SHARED, theirs, frozenset(theirs))

    assert usual["INGRESS_LIT_HTML"] == "/cache/lit-html.jar"
    assert chosen["INGRESS_LIT_HTML"] == "/their/own.jar"


def test_the_bundled_model_may_answer_no_tag_unless_the_user_chose_how_to_score() -> None:
    theirs = {"TAGGING_SCORING": "softmax"}
    real = replace(SHARED, tagging_model="ViT-B-32")

    assert common_environment(SHARED, {}, frozenset())["TAGGING_SCORING"] == "threshold"
    assert common_environment(SHARED, theirs, frozenset(theirs))["TAGGING_SCORING"] == "softmax"
    assert "TAGGING_SCORING" not in common_environment(real, {}, frozenset())


def test_with_three_brokers_each_record_is_on_all_and_two_must_have_it() -> None:
    three = common_environment(replace(SHARED, brokers=3), {}, frozenset())
    one = common_environment(SHARED, {}, frozenset())
    names = ("KAFKA_REPLICATION_FACTOR", "KAFKA_MIN_INSYNC_REPLICAS")
    assert [three[name] for name in names] == ["3", "2"]
    assert [one[name] for name in names] == ["1", "1"]
