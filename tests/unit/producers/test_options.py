"""Options of the command line, and the errors of invalid ones."""

from pathlib import Path

import pytest

from core.blobs.naming import RootedPath
from core.errors import ConfigurationError
from producers.main import open_roots
from producers.replay import source_topic
from producers.watching import outermost


def test_a_dead_letter_topic_names_its_source_and_group() -> None:
    assert source_topic("images.arrived.v1") == ("images.arrived.v1", None)
    assert source_topic("images.arrived.v1.tagging.dlq") == ("images.arrived.v1", "tagging")


def test_an_unknown_topic_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"images\.arrived\.v1.*queries\.submitted\.v1"):
        source_topic("images.arrived.v2")


def test_directories_within_others_are_watched_once() -> None:
    places = [
        RootedPath("m", b"a/b"),
        RootedPath("m", b"a"),
        RootedPath("n", b"a/b"),
        RootedPath("m", b"a-b"),
    ]

    assert outermost(places) == [
        RootedPath("m", b"a-b"),
        RootedPath("m", b"a"),
        RootedPath("n", b"a/b"),
    ]
    assert outermost([*places, RootedPath("m", b"")]) == [
        RootedPath("m", b""),
        RootedPath("n", b"a/b"),
    ]


def test_roots_of_the_command_line_join_those_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARCHIVE_ROOTS", "main=/srv/photos")

    assert open_roots(["other=/srv/other", "main=/srv/photos"]).names == ("main", "other")
    assert open_roots(["other=/srv/other"]).path_of("other") == Path("/srv/other")


@pytest.mark.parametrize("text", ["/srv", "a b=/srv", "=/srv", "main=/elsewhere", "x="])
def test_a_root_that_cannot_be_used_stops_the_command(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("ARCHIVE_ROOTS", "main=/srv/photos")

    with pytest.raises(ConfigurationError, match="--root"):
        open_roots([text])
