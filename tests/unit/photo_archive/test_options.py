"""What an operator writes, and what the command says to what it does not take."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from typer import BadParameter
from typer.testing import CliRunner

from core.storage.delivery import redelivery
from photo_archive.app import app
from photo_archive.deliveries import MAX_LIMIT, read_host, read_moment
from photo_archive.keys import read_owner, read_scopes
from photo_archive.maintenance import GroupName
from photo_archive.running import print_json
from photo_archive.targets import read_target
from schemas.topics import GROUPS


@pytest.mark.parametrize("host", ["bücher.example", "Bücher.Example.", "xn--bcher-kva.example"])
def test_a_host_is_named_in_any_spelling_and_found_as_its_lane(host: str) -> None:
    assert read_host(host) == "xn--bcher-kva.example"


def test_what_is_no_host_is_refused_with_the_reason() -> None:
    with pytest.raises(BadParameter, match="not an international host name"):
        read_host("xn--a.example")


def test_a_target_is_taken_as_the_list_shows_it_or_as_a_url() -> None:
    assert read_target("https://Hooks.Example:443") == "https://hooks.example:443"
    assert read_target("https://Hooks.Example/x?y=1") == "https://hooks.example:443"
    assert read_target("http://[::1]:8080") == "http://[::1]:8080"
    for text in ("hooks.example", "ftp://hooks.example:21", "https://", "https://a b"):
        with pytest.raises(BadParameter):
            read_target(text)


def test_a_moment_has_a_zone() -> None:
    assert read_moment("2026-05-01T02:00:00+02:00") == read_moment("2026-05-01T00:00:00Z")
    with pytest.raises(BadParameter, match="give the zone"):
        read_moment("2026-05-01T00:00:00")
    with pytest.raises(BadParameter, match="Invalid isoformat"):
        read_moment("yesterday")


@pytest.mark.parametrize("owner", ["", " ", "a\nb", "x" * 201])
def test_an_owner_can_be_printed(owner: str) -> None:
    with pytest.raises(BadParameter, match="1 to 200 printable characters"):
        read_owner(owner)


def test_an_unknown_scope_is_refused_with_the_known_ones() -> None:
    assert [scope.value for scope in read_scopes("upload, read")] == ["upload", "read"]
    with pytest.raises(BadParameter, match=r"scopes: .*upload"):
        read_scopes("everything")


def test_what_help_says_without_loading_them_is_what_the_instruments_have() -> None:
    assert redelivery.MAX_LIMIT == MAX_LIMIT
    assert {group.value for group in GroupName} == set(GROUPS)


def test_json_has_times_in_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 5, 1, 2, 3, 4, tzinfo=UTC)

    print_json({"at": at, "id": UUID(int=7), "key": b"\xffkey"})

    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-05-01T02:03:04+00:00",
        "id": str(UUID(int=7)),
        "key": "�key",
    }


@pytest.mark.parametrize(
    "words",
    [
        ("create", "--owner", "me", "--days", "1e12"),
        ("create", "--owner", "me", "--days", "-1"),
        ("signing-secret", "--instance", "--overlap-hours", "1e12"),
    ],
    ids=" ".join,
)
def test_a_time_that_no_calendar_has_is_wrong_usage(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["keys", *words]).exit_code == 2
