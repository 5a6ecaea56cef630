"""The restart policy of processes, with time as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standalone.processes.policy import (
    CONFIGURATION_EXIT,
    HEALTHY_AFTER_S,
    LONGEST_DELAY_S,
    LONGEST_SERVING_DELAY_S,
    LOOP_FROM,
    NoRestart,
    ProcessEnd,
    Restart,
    decide,
)


def delays(count: int, ran_s: float, longest_delay_s: float = LONGEST_DELAY_S) -> list[float]:
    """Return the delays of a process that ends `count` times in a row, each after `ran_s`."""
    failures, found = 0, []
    for _ in range(count):
        decision = decide(failures, ProcessEnd(1, ran_s), longest_delay_s=longest_delay_s)
        assert isinstance(decision, Restart)
        failures = decision.failures
        found.append(decision.delay_s)
    return found


def test_a_first_crash_is_answered_at_once_and_a_row_of_them_ever_later() -> None:
    assert delays(8, ran_s=0.5) == pytest.approx([0.1, 0.3, 0.9, 2.7, 8.1, 24.3, 30, 30])


def test_what_people_wait_for_is_back_in_seconds_however_often_it_was_killed() -> None:
    assert max(delays(20, ran_s=0.5, longest_delay_s=LONGEST_SERVING_DELAY_S)) <= 3.0


def test_a_person_hears_of_a_loop_ever_more_seldom() -> None:
    rows = [decide(failures, ProcessEnd(1, 0.5)) for failures in range(40)]
    told = [row.failures for row in rows if isinstance(row, Restart) and row.is_news]
    assert told == [1, 2, 3, 4, 8, 16, 32]


def test_a_long_run_ends_the_row() -> None:
    decision = decide(7, ProcessEnd(1, HEALTHY_AFTER_S))
    assert decision == Restart(delay_s=0.1, failures=1)


def test_a_short_run_does_not_end_the_row() -> None:
    decision = decide(2, ProcessEnd(1, HEALTHY_AFTER_S - 0.1))
    assert isinstance(decision, Restart)
    assert decision.failures == 3


def test_several_crashes_in_a_row_are_called_a_loop() -> None:
    rows = [decide(failures, ProcessEnd(-9, 1.0)) for failures in range(LOOP_FROM + 1)]
    loops = [decision.is_loop for decision in rows if isinstance(decision, Restart)]
    assert loops == [False] * (LOOP_FROM - 1) + [True, True]


def test_a_wrong_setting_is_not_tried_again() -> None:
    assert isinstance(decide(0, ProcessEnd(CONFIGURATION_EXIT, 100.0)), NoRestart)


def test_an_obstacle_is_not_tried_again_and_names_itself() -> None:
    assert decide(0, ProcessEnd(1, 3600.0, obstacle="no space left")) == NoRestart("no space left")


@given(failures=st.integers(0, 10**9), code=st.integers(-64, 255), ran_s=st.floats(0, 1e9))
def test_no_delay_is_ever_negative_or_beyond_the_bound(
    failures: int, code: int, ran_s: float
) -> None:
    decision = decide(failures, ProcessEnd(code, ran_s))
    if isinstance(decision, Restart):
        assert 0 < decision.delay_s <= LONGEST_DELAY_S
    else:
        assert code == CONFIGURATION_EXIT
