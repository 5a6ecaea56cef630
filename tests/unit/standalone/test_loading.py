"""Steps that are begun in order, a few at a time."""

import threading
from collections.abc import Callable

from standalone.supervision.loading import cores, run_in_order


class Steps:
    """Steps that end when the test says so, and the names of those that were begun."""

    def __init__(self, *names: str) -> None:
        self.begun: list[str] = []
        self.changed = threading.Condition()
        self.may_end = {name: threading.Event() for name in names}

    def of(self, name: str) -> Callable[[], None]:
        def step() -> None:
            with self.changed:
                self.begun.append(name)
                self.changed.notify_all()
            assert self.may_end[name].wait(10)

        return step

    def run(self, *, at_once: int) -> None:
        run_in_order([self.of(name) for name in self.may_end], at_once=at_once)

    def wait_for(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: set(names) <= set(self.begun), 10), self.begun


def test_no_more_are_under_way_than_allowed_and_the_rest_follow_in_order() -> None:
    steps = Steps("a", "b", "c", "d")
    steps.run(at_once=2)
    steps.wait_for("a", "b")
    assert set(steps.begun) == {"a", "b"}
    steps.may_end["b"].set()
    steps.wait_for("c")
    assert steps.begun[2:] == ["c"]
    for event in steps.may_end.values():
        event.set()
    steps.wait_for("d")


def test_a_step_that_hangs_holds_up_nobody_else() -> None:
    steps = Steps("downloads for an hour", "b", "c")
    steps.may_end["b"].set()
    steps.may_end["c"].set()
    steps.run(at_once=2)
    steps.wait_for("b", "c")
    steps.may_end["downloads for an hour"].set()


def test_there_is_a_core_to_load_on() -> None:
    assert cores() >= 1
