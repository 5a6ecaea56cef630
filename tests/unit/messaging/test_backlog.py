"""Lag and age are those of a reader of committed records; an open transaction is told apart."""

from core.messaging.ports import Bounds
from core.messaging.watching.backlog import Backlog, BacklogMeter
from schemas.record import Partition

P0, P1 = Partition("t", 0), Partition("t", 1)
NOTHING = Backlog(records=0, oldest_s=0.0, held_records=0, held_s=0.0)


def test_nothing_waits_at_the_end_of_the_log() -> None:
    meter = BacklogMeter()

    assert meter.measure({P0: 9}, {P0: Bounds(0, 9, 9)}, {}, at_s=1000.0) == {P0: NOTHING}


def test_what_waits_is_as_old_as_the_record_that_was_taken_first() -> None:
    meter = BacklogMeter()

    found = meter.measure({P0: 4}, {P0: Bounds(0, 9, 9)}, {P0: 990_000}, at_s=1000.0)

    assert found == {P0: Backlog(5, 10.0, 0, 0.0)}


def test_what_was_not_fetched_yet_is_as_old_as_it_has_been_seen_to_wait() -> None:
    meter = BacklogMeter()
    meter.measure({P0: 4}, {P0: Bounds(0, 9, 9)}, {}, at_s=1000.0)

    found = meter.measure({P0: 4}, {P0: Bounds(0, 9, 9)}, {}, at_s=1030.0)
    assert found[P0].oldest_s == 30.0
    found = meter.measure({P0: 5}, {P0: Bounds(0, 9, 9)}, {}, at_s=1040.0)
    assert found[P0].oldest_s == 0.0, "it moved"


def test_what_lies_behind_an_open_transaction_is_no_lag_and_is_told_for_as_long() -> None:
    meter = BacklogMeter()
    meter.measure({P0: 5}, {P0: Bounds(0, 5, 8)}, {}, at_s=1000.0)

    found = meter.measure({P0: 5}, {P0: Bounds(0, 5, 12)}, {}, at_s=1070.0)
    assert found == {P0: Backlog(0, 0.0, 7, 70.0)}
    found = meter.measure({P0: 5}, {P0: Bounds(0, 9, 12)}, {}, at_s=1080.0)
    assert found[P0].held_s == 0.0, "another one: the first has ended"


def test_partitions_whose_log_is_not_known_are_left_out() -> None:
    meter = BacklogMeter()

    assert meter.measure({P0: 9, P1: 3}, {P0: Bounds(0, 9, 9)}, {}, at_s=0.0) == {P0: NOTHING}
