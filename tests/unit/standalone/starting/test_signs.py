"""Signs of life while something is waited for."""

import queue
import threading

from standalone.signs import SignsOfLife

LIMIT_S = 60


def test_while_it_lasts_it_is_said_again_and_again_what_is_waited_for() -> None:
    said: queue.Queue[str] = queue.Queue()
    words = iter(["kafka", "", "the ingress"])
    with SignsOfLife(said.put, lambda: next(words, "more"), every_s=0.01):
        lines = [said.get(timeout=LIMIT_S) for _ in range(3)]
    assert lines == [f"still waiting for {one} …" for one in ("kafka", "the ingress", "more")]


def test_nothing_is_said_once_it_is_over() -> None:
    said: list[str] = []
    first = threading.Event()

    def what() -> str:
        first.set()
        return "kafka"

    with SignsOfLife(said.append, what, every_s=0.01):
        assert first.wait(LIMIT_S)
    before = len(said)
    assert not any(thread.name == "signs" for thread in threading.enumerate())
    assert len(said) == before


def test_a_short_wait_says_nothing() -> None:
    said: list[str] = []
    with SignsOfLife(said.append, lambda: "kafka"):
        pass
    assert said == []
