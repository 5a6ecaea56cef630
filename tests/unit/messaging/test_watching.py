"""The watchdog's eye: lag without movement, and nothing else, counts as a stall."""

from core.messaging.liveness import Pulse, report_progress
from core.messaging.watching.watchdog import ProgressWatch
from schemas.record import Partition

P0, P1 = Partition("t", 0), Partition("t", 1)


def test_a_partition_with_lag_that_does_not_move_is_stalled_since_it_last_moved() -> None:
    watch = ProgressWatch()
    watch.look({P0: 5}, {P0: 9}, 100.0)

    assert watch.look({P0: 5}, {P0: 9}, 130.0) == {P0: 30.0}
    assert watch.look({P0: 6}, {P0: 9}, 140.0) == {P0: 0.0}
    assert watch.look({P0: 6}, {P0: 9}, 145.0) == {P0: 5.0}


def test_an_idle_partition_is_never_stalled() -> None:
    watch = ProgressWatch()
    watch.look({P0: 9}, {P0: 9}, 0.0)

    assert watch.look({P0: 9}, {P0: 9}, 10_000.0) == {P0: 0.0}
    assert watch.look({P0: 9}, {P0: 10}, 10_005.0) == {P0: 5.0}


def test_a_partition_that_cannot_be_claimed_is_stalled_too() -> None:
    watch = ProgressWatch()
    watch.look({P0: None}, {}, 0.0)

    assert watch.look({P0: None}, {}, 60.0) == {P0: 60.0}


def test_a_partition_that_left_and_came_back_begins_anew() -> None:
    watch = ProgressWatch()
    watch.look({P0: 5, P1: 0}, {P0: 9, P1: 0}, 0.0)
    watch.look({P1: 0}, {P1: 0}, 50.0)

    assert watch.look({P0: 5}, {P0: 9}, 60.0) == {P0: 0.0}


def test_what_is_in_hand_does_not_stall_while_parts_of_batches_get_done() -> None:
    watch = ProgressWatch()
    watch.look({P0: 5, P1: 5}, {P0: 9, P1: 9}, 0.0)

    busy = watch.look({P0: 5, P1: 5}, {P0: 9, P1: 9}, 100.0, parts_done=1, in_hand={P0})
    assert busy == {P0: 0.0, P1: 100.0}
    still = watch.look({P0: 5, P1: 5}, {P0: 9, P1: 9}, 150.0, parts_done=1, in_hand={P0})
    assert still == {P0: 50.0, P1: 150.0}


def test_a_batch_that_is_tried_again_and_again_does_not_look_alive() -> None:
    beats: list[int] = []
    pulse = Pulse(lambda: beats.append(1))

    for steps in (2, 2, 3, 1):
        with pulse.trying():
            for _ in range(steps):
                report_progress()
    report_progress()  # outside of any batch

    assert len(beats) == 3
