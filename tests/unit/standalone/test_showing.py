"""What the demo shows at the terminal."""

import io
from typing import Any, cast

from rich.console import Console

from standalone.demo.showing import show_photos, show_processes
from standalone.processes.supervised_process import ProcessState, Status
from standalone.supervision.supervisor import Supervisor


def test_a_photo_without_a_tag_says_so_and_one_that_is_not_tagged_does_not() -> None:
    told = io.StringIO()
    images: list[dict[str, Any]] = [
        {"image_path": "1.jpg", "tags": [{"tag": "cat", "score": 0.9}]},
        {"image_path": "2.jpg", "tags": []},
        {"image_path": "3.jpg", "tags": None},
    ]

    show_photos(Console(file=told, width=100), images)

    lines = [line for line in told.getvalue().splitlines() if ".jpg" in line]
    assert "cat 0.90" in lines[0]
    assert ["no tag" in line for line in lines] == [False, True, False]


class FakeSupervisor:
    """Two processes, of which one listens."""

    def states(self) -> tuple[ProcessState, ...]:
        return tuple(
            ProcessState(name, Status.RUNNING, 7, 0, 2**20) for name in ("tagging-0", "jobs")
        )

    def ports(self) -> dict[str, str]:
        return {"tagging-0": "19102/metrics"}


def test_the_processes_are_shown_with_their_ports_which_may_not_be_the_usual_ones() -> None:
    told = io.StringIO()
    show_processes(Console(file=told, width=100), cast("Supervisor", FakeSupervisor()))

    lines = [line for line in told.getvalue().splitlines() if "MiB" in line]
    assert ["19102/metrics" in line for line in lines] == [True, False]
