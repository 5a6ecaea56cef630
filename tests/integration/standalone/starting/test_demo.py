"""The demo on a busy machine: what fails beside the archive leaves it up, and is said."""

import io
import time
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from rich.console import Console

from core.errors import ConfigurationError
from standalone.demo import main_job, showing, ways_in
from standalone.demo.archive_client import ArchiveClient, ArchiveFailed
from standalone.demo.kept_keys import Credentials
from standalone.demo.main_job import Wish
from standalone.demo.showing import Stopwatch
from standalone.supervision.supervisor import Supervisor
from tests.integration.standalone.starting.test_taken_ports import plan_of
from tests.integration.standalone.test_ways_in import FakeIngress


class FakeSupervisor:
    """An archive that started, and waits for its end."""

    def __init__(self, url: str = "http://127.0.0.1:1", lost: str = "") -> None:
        self.ingress_url = url
        self.waited = 0
        self._lost = lost

    def start(self) -> None:
        """Start nothing."""

    def waits_for(self) -> str:
        return ""

    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": "postgresql://here"}

    def check(self) -> None:
        if self._lost:
            raise ConfigurationError(self._lost)

    def wait(self, timeout_s: float | None = None) -> bool:
        self.waited += timeout_s is None
        return True


class Demo:
    """The demo without an archive."""

    def __init__(self, home: Path) -> None:
        self.told = io.StringIO()
        self.clock = Stopwatch(Console(file=self.told, width=200), time.monotonic())
        self.plan = plan_of(home)

    def run(self, supervisor: FakeSupervisor, *, once: bool = False) -> int:
        wish = Wish(None, once=once, model="demo")
        return main_job._demo(wish, self.plan, cast("Supervisor", supervisor), self.clock)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


@pytest.mark.parametrize("error", [ArchiveFailed("no [key]"), httpx.ReadTimeout("too slow")])
@pytest.mark.parametrize(("once", "stays"), [(False, 1), (True, 0)])
def test_keys_that_cannot_be_made_leave_the_archive_up(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, *, error: Exception, once: bool, stays: int
) -> None:
    def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ways_in, "both_keys", failing)
    supervisor = FakeSupervisor()

    assert demo.run(supervisor, once=once) == 1
    assert supervisor.waited == stays
    assert str(error) in demo.told.getvalue()


def test_a_process_that_is_lost_ends_the_demo_at_once_with_its_reason(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with what somebody else's archive says to our key."""
    monkeypatch.setattr(ways_in, "both_keys", lambda *_: (Credentials("pa_x", "whsec_x"), "pa_y"))
    ingress = FakeIngress()
    try:
        with pytest.raises(ConfigurationError, match="ingress ended with code 2"):
            demo.run(FakeSupervisor(ingress.url, "ingress ended with code 2"))
        assert not ingress.was_asked.is_set(), "no key was sent"
    finally:
        ingress.close()


def test_other_terminals_have_both_keys_before_it_takes_requests(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways_in, "both_keys", lambda *_: (Credentials("pa_x", "whsec_x"), "pa_y"))
    files: list[str] = []

    def ready(*_: Any) -> None:
        files.append((tmp_path / "env.sh").read_text())

    monkeypatch.setattr(ArchiveClient, "wait_until_ready", ready)
    ways = ways_in.open_ways_in(
        demo.plan, cast("Supervisor", FakeSupervisor("http://127.0.0.1:8081")), demo.clock
    )

    assert ways.admin == "pa_y"
    assert "export KEY=pa_x\n" in files[0]
    assert "export ADMIN=pa_y\n" in files[0]
    told = demo.told.getvalue()
    assert "takes requests at http://127.0.0.1:8081" in told
    assert "env.sh && photo-archive link" in told


def test_a_message_with_brackets_is_shown_whole(demo: Demo) -> None:
    demo.clock.say_plainly("[1.0s][warning][aot] Skipping [/x]")
    assert "[1.0s][warning][aot] Skipping [/x]" in demo.told.getvalue()


def test_an_archive_that_stays_says_why_there_was_nothing_to_show(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ways_in.WaysIn("http://x", Credentials("pa_x", "whsec_x"), "pa_y", tmp_path / "env.sh")
    monkeypatch.setattr(main_job, "open_ways_in", lambda *_: ways)
    monkeypatch.setattr(main_job, "page_link", lambda *_: "http://x/#link")
    monkeypatch.setattr(main_job, "_say_unknown", lambda *_: None)
    monkeypatch.setattr(main_job, "_main_job", lambda *_: (False, "no photos in here"))
    monkeypatch.setattr(showing, "show_processes", lambda *_: None)
    supervisor = FakeSupervisor()

    assert demo.run(supervisor) == 1
    assert supervisor.waited == 1
    assert "no photos in here" in demo.told.getvalue()


@pytest.mark.parametrize(("name", "words"), [("a.jpg", "this is a file"), ("none", "no such")])
def test_what_is_no_folder_of_photos_is_said_to_be_none(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")

    with pytest.raises(ConfigurationError, match=words):
        main_job._plan(Wish(tmp_path / name, once=False, model="demo"))
