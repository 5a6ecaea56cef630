"""The plan for this machine, from settings and the home."""

import base64
from pathlib import Path

import pytest

from core.addresses import parse_roots
from core.errors import ConfigurationError
from standalone.remembered_roots import place_of, remember
from standalone.shell import read_shell_file, write_shell_file
from standalone.supervision.planning import allow, make_plan
from standalone.supervision.roles import SharedConfiguration, common_environment


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # no `.env` of the developer's
    for name in (
        "SECRETS_KEY", "ARCHIVE_ROOTS", "TAGGING_MODEL", "TAGGING_PRETRAINED", "EGRESS_ALLOW_HTTP",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STANDALONE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "home"


def test_a_key_is_made_once_and_for_its_owner_alone(own_home: Path) -> None:
    first, second = make_plan(model="demo"), make_plan(model="demo")
    assert first.secrets_key == second.secrets_key
    assert len(base64.b64decode(first.secrets_key)) == 32
    assert (own_home / "secrets.key").stat().st_mode & 0o077 == 0


def test_the_users_own_key_and_model_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETS_KEY", "theirs")
    monkeypatch.setenv("TAGGING_MODEL", "ViT-L-14")
    plan = make_plan()
    assert (plan.secrets_key, plan.model.model) == ("theirs", "ViT-L-14")


def test_weights_that_were_named_are_used_and_no_other_model_replaces_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "vit.safetensors"
    file.touch()
    monkeypatch.setenv("TAGGING_PRETRAINED", str(file))
    named = make_plan().model
    monkeypatch.setenv("TAGGING_PRETRAINED", "laion2b_s34b_b79k")
    tagged = make_plan().model
    for choice, told in ((named, str(file)), (tagged, "laion2b_s34b_b79k")):
        assert (choice.model, choice.may_fail) == ("ViT-B-32", False)
        assert f"TAGGING_PRETRAINED={told}" in choice.reason
    assert make_plan(model="demo").model.model == "demo", "unless another model is asked for"


def test_a_relative_path_to_weights_is_whole_for_processes_that_run_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("vit.safetensors").touch()
    monkeypatch.setenv("TAGGING_PRETRAINED", "vit.safetensors")
    assert make_plan().inherited["TAGGING_PRETRAINED"] == str(tmp_path / "vit.safetensors")


@pytest.mark.parametrize("told", ["{home}", "{home}/none.safetensors"])
def test_weights_that_were_named_and_are_not_there_are_refused(
    told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAGGING_PRETRAINED", told.format(home=tmp_path))
    with pytest.raises(ConfigurationError, match="TAGGING_PRETRAINED"):
        make_plan()


def test_weights_copied_without_a_ref_are_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    copied = tmp_path / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "any"
    copied.mkdir(parents=True)
    (copied / "open_clip_model.safetensors").touch()
    choice = make_plan().model
    assert (choice.model, choice.may_fail) == ("ViT-B-32", False)


def test_without_weights_and_offline_the_bundled_model_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    choice = make_plan().model
    assert choice.model == "demo"
    assert "HF_HUB_OFFLINE" in choice.reason


def test_what_the_user_has_set_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_plan(model="demo").chosen == frozenset()
    monkeypatch.setenv("EGRESS_ALLOW_HTTP", "false")
    assert make_plan(model="demo").chosen == {"EGRESS_ALLOW_HTTP"}


def test_a_watched_folder_becomes_a_root_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos, other = tmp_path / "photos", tmp_path / "other"
    (photos / "2024").mkdir(parents=True)
    other.mkdir()
    monkeypatch.setenv("ARCHIVE_ROOTS", f"photos={photos}")

    beside = make_plan(model="demo", watched=other)
    below = make_plan(model="demo", watched=photos / "2024")

    assert parse_roots(beside.archive_roots) == {"photos": photos, "watched": other}
    assert parse_roots(below.archive_roots) == {"photos": photos}, "it may be read already"


def test_folders_of_earlier_starts_may_still_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_home: Path
) -> None:
    """Else an archive could not show the photos that it has tagged."""
    for name in ("a", "b", "moved"):
        (tmp_path / name).mkdir()
    first = allow(make_plan(model="demo"), tmp_path / "a", "photos")
    remember(own_home, first.archive_roots)
    second = allow(make_plan(model="demo"), tmp_path / "b", "photos")
    remember(own_home, second.archive_roots)

    plain = make_plan(model="demo")
    monkeypatch.setenv("ARCHIVE_ROOTS", f"photos={tmp_path / 'moved'}")
    told = make_plan(model="demo")

    assert parse_roots(plain.archive_roots) == {
        "photos": tmp_path / "a",
        "photos-2": tmp_path / "b",
    }
    assert place_of(second.archive_roots, tmp_path / "b") == "photos-2"
    assert parse_roots(told.archive_roots)["photos"] == tmp_path / "moved", "a root may move"


@pytest.mark.parametrize("name", ["summer;winter", "blank "])
def test_a_folder_whose_path_the_setting_cannot_say_is_refused_and_not_kept(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match="no semicolon"):
        allow(make_plan(model="demo"), tmp_path / name, "photos")


def test_kept_folders_that_cannot_be_read_are_named(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "roots").write_text("photos")
    with pytest.raises(ConfigurationError, match="home/roots: 'photos' is not name="):
        make_plan(model="demo")


def test_a_folder_to_watch_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a folder"):
        make_plan(model="demo", watched=tmp_path / "none")


def test_a_home_that_cannot_be_made_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STANDALONE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigurationError, match="STANDALONE_HOME"):
        make_plan(model="demo")


def test_a_terminal_that_has_read_the_shell_file_can_start_the_archive_again(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_plan(model="demo")
    shared = SharedConfiguration(
        own_home, 8099, first.secrets_key, f"photos={tmp_path}", "demo", tmp_path / "lit.jar"
    )
    servers = {
        "DATABASE_URL": "postgresql://photo_archive:gone@127.0.0.1:15499/photo_archive",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:19099",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": "photo-archive",
        "KAFKA_SASL_PASSWORD": "of the last start",
    }
    given = {"STANDALONE_INGRESS_PORT": "8099", "QUERY_MAX_CHARS": "500"}
    environment = {**common_environment(shared, given, frozenset()), **servers}
    write_shell_file(own_home, environment, given)
    told = read_shell_file(own_home)
    for name, value in told.items():
        monkeypatch.setenv(name, value)

    again = make_plan(model="demo")

    assert given.items() <= told.items(), "what was set for the first start"
    assert again.settings.ingress_port == 8099
    assert (again.secrets_key, again.archive_roots) == (first.secrets_key, f"photos={tmp_path}")
    roles = common_environment(shared, again.inherited, again.chosen)
    assert not servers.keys() & roles.keys(), "these lead to servers that are gone"


#: Where Kafka's own file lies in homes that were made, by the number of brokers. Homes of users
#: have these paths: they are written out here, so that no change of the code changes them too.
MADE = {
    1: ("kafka/data/meta.properties",),
    3: tuple(f"kafka/{number}/data/meta.properties" for number in (1, 2, 3)),
}


def made_with(home: Path, size: int) -> None:
    """Make the home's brokers, as far as a plan looks at them."""
    for name in MADE[size]:
        (home / name).parent.mkdir(parents=True)
        (home / name).touch()


@pytest.mark.parametrize("made", [1, 3])
def test_a_home_keeps_the_number_of_brokers_that_it_was_made_with(
    own_home: Path, made: int
) -> None:
    made_with(own_home, made)
    plans = [make_plan(model="demo"), make_plan(model="demo", brokers=made)]
    assert [plan.brokers for plan in plans] == [made, made]
    other = 4 - made
    with pytest.raises(ConfigurationError, match=f"made with {made} .* --brokers {other},") as told:
        make_plan(model="demo", brokers=other)
    assert "photo-archive backup" in str(told.value)
    assert "in a terminal that has not read env.sh" in str(told.value)


def test_a_new_home_has_as_many_brokers_as_are_wanted_and_one_if_nobody_says() -> None:
    assert make_plan(model="demo").brokers == 1
    assert make_plan(model="demo", brokers=3).brokers == 3
    with pytest.raises(ConfigurationError, match=r"--brokers: 1 or 3 \(got 2\)"):
        make_plan(model="demo", brokers=2)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("INGRESS_SSL_CERTFILE", "/nowhere/cert.pem"), ("DELIVERY_SCHEDULE_S", "5,abc")],
)
def test_what_a_role_would_refuse_is_told_before_anything_is_made(
    variable: str, value: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        make_plan(model="demo")

    assert not own_home.exists()
