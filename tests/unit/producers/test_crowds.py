"""The lanes of a watched folder's photos."""

from producers.folders.crowds import Trickle
from schemas.topics import Lane


def test_photos_in_ones_and_twos_are_fresh_for_ever() -> None:
    trickle = Trickle(60)

    assert {trickle.lane(1, now=float(second)) for second in range(1000)} == {Lane.FRESH}


def test_a_crowd_goes_in_bulk_and_leaves_room_for_a_single_photo() -> None:
    trickle = Trickle(60)

    assert [trickle.lane(200, now=0.0) for _ in range(500)] == [Lane.BULK] * 500
    assert trickle.lane(1, now=0.0) is Lane.FRESH


def test_a_crowd_that_comes_in_small_portions_goes_in_bulk_beyond_the_first() -> None:
    trickle = Trickle(60)

    lanes = [trickle.lane(10, now=0.0) for _ in range(100)]

    assert lanes == [Lane.FRESH] * 6 + [Lane.BULK] * 94


def test_after_a_minute_photos_are_fresh_again() -> None:
    trickle = Trickle(60)
    while trickle.lane(7, now=100.0) is Lane.FRESH:
        pass

    assert trickle.lane(60, now=130.0) is Lane.BULK
    assert trickle.lane(60, now=160.0) is Lane.FRESH
