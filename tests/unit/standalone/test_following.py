"""What the demo counts as tagged: what was tagged since it sent the photos."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import ConfigurationError
from standalone.demo.archive_client import ArchiveClient

SENT_AT = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)


class ScriptedArchive(ArchiveClient):
    """An archive whose answers about one image are given in advance."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__("http://archive.invalid", "key")
        self.asked = 0
        self._answers: Iterator[dict[str, Any]] = iter(answers)

    def get(self, path: str) -> dict[str, Any]:
        self.asked += 1
        return next(self._answers)


def image(status: str, tagged_at: datetime | None) -> dict[str, Any]:
    return {"status": status, "tagged_at": tagged_at.isoformat() if tagged_at else None}


def follow(archive: ScriptedArchive) -> list[dict[str, Any]]:
    return list(archive.follow_images(["one"], 30, since=SENT_AT))


def test_tags_of_an_earlier_start_are_not_counted() -> None:
    yesterday = image("tagged", SENT_AT - timedelta(days=1))
    now = image("tagged", SENT_AT + timedelta(seconds=9))
    with ScriptedArchive(yesterday, yesterday, now) as archive:
        assert follow(archive) == [now]
        assert archive.asked == 3


def test_a_new_photo_is_waited_for_until_it_is_tagged() -> None:
    now = image("tagged", SENT_AT + timedelta(seconds=1))
    with ScriptedArchive(image("accepted", None), now) as archive:
        assert follow(archive) == [now]


def test_a_photo_that_failed_is_not_waited_for() -> None:
    with ScriptedArchive(image("failed", None)) as archive:
        assert [each["status"] for each in follow(archive)] == ["failed"]


def test_a_job_whose_photos_somebody_deleted_is_not_waited_for() -> None:
    counts = {"tagged": 2, "failed": 1, "deleted": 1, "missing": 1}
    under_way = {"state": "done", "announced": 5, "images": {"tagged": 4, "accepted": 1}}
    ended = {"state": "done", "announced": 5, "images": counts}
    with ScriptedArchive(under_way, ended) as archive:
        assert list(archive.follow_job("one", 30)) == [under_way, ended]


@pytest.mark.parametrize(
    "wait",
    [
        lambda archive: list(archive.follow_images(["one"], 30, since=SENT_AT)),
        lambda archive: list(archive.follow_job("one", 30)),
        lambda archive: archive.wait_until_ready(30),
    ],
)
def test_who_waits_hears_that_the_model_was_refused(
    wait: Callable[[ArchiveClient], object],
) -> None:
    """Else the demo would wait two minutes for tags that never come."""

    def refused() -> None:
        raise ConfigurationError("TAGGING_MODEL: no such model")

    archive = ArchiveClient("http://archive.invalid", "key", check=refused)
    with archive, pytest.raises(ConfigurationError, match="no such model"):
        wait(archive)
