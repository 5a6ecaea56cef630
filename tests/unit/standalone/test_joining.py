"""When a standby is waited for, and when not any more."""

from standalone.postgres.joining import ALONE_AFTER_S, LOST_AFTER_S, Joining, JoiningStep, PairLook

FOLLOWS = PairLook(streams=True, is_waited_for=False, is_connected=True, runs=True)
WAITED_FOR = PairLook(streams=True, is_waited_for=True, is_connected=True, runs=True)
CATCHES_UP = PairLook(streams=False, is_waited_for=False, is_connected=True, runs=True)
FINDS_NO_WAY = PairLook(streams=False, is_waited_for=False, is_connected=False, runs=True)
DEAD = PairLook(streams=False, is_waited_for=False, is_connected=False, runs=False)


def step(joining: Joining, look: PairLook, now: float) -> JoiningStep:
    """Return the next step, which was done."""
    found = joining.next(look, now)
    joining.done(found)
    return found


def in_step() -> Joining:
    joining = Joining()
    assert step(joining, FOLLOWS, 0.0) is JoiningStep.WAIT_FOR_IT
    assert step(joining, WAITED_FOR, 0.1) is JoiningStep.IN_STEP
    return joining


def test_it_may_lead_only_once_every_session_waits_for_it() -> None:
    joining = Joining()
    assert step(joining, CATCHES_UP, 0.0) is JoiningStep.NOTHING
    assert step(joining, FOLLOWS, 1.0) is JoiningStep.WAIT_FOR_IT
    assert step(joining, FOLLOWS, 1.1) is JoiningStep.NOTHING
    assert not joining.is_in_step
    assert step(joining, WAITED_FOR, 1.2) is JoiningStep.IN_STEP
    assert joining.is_in_step


def test_a_standby_that_is_gone_for_a_moment_stays_in_step() -> None:
    joining = in_step()
    assert step(joining, DEAD, 10.0) is JoiningStep.NOTHING
    assert step(joining, DEAD, 10.0 + ALONE_AFTER_S / 2) is JoiningStep.NOTHING
    assert joining.is_in_step, "nothing was acknowledged that it lacks"
    assert step(joining, WAITED_FOR, 11.5) is JoiningStep.NOTHING
    assert step(joining, DEAD, 20.0) is JoiningStep.NOTHING, "the time counts anew"


def test_the_primary_goes_on_alone_and_its_standby_may_not_lead_then() -> None:
    joining = in_step()
    step(joining, DEAD, 10.0)
    assert step(joining, DEAD, 10.0 + ALONE_AFTER_S) is JoiningStep.GO_ALONE
    assert not joining.is_in_step
    assert step(joining, DEAD, 13.0) is JoiningStep.NOTHING
    assert step(joining, FOLLOWS, 14.0) is JoiningStep.WAIT_FOR_IT


def test_a_standby_that_finds_no_way_is_made_anew() -> None:
    joining = Joining()
    assert step(joining, FINDS_NO_WAY, 0.0) is JoiningStep.NOTHING
    assert step(joining, CATCHES_UP, LOST_AFTER_S) is JoiningStep.NOTHING, "it found one"
    assert step(joining, FINDS_NO_WAY, LOST_AFTER_S + 1) is JoiningStep.NOTHING
    assert step(joining, FINDS_NO_WAY, 2 * LOST_AFTER_S + 1) is JoiningStep.MAKE_ANEW
    assert step(joining, DEAD, 9 * LOST_AFTER_S) is JoiningStep.NOTHING, "it is being made"


def test_what_was_not_done_is_asked_for_again() -> None:
    """A full disk: the settings could not be written."""
    joining = Joining()
    assert joining.next(FOLLOWS, 0.0) is JoiningStep.WAIT_FOR_IT
    assert step(joining, FOLLOWS, 0.1) is JoiningStep.WAIT_FOR_IT
    assert step(joining, WAITED_FOR, 0.2) is JoiningStep.IN_STEP
    joining.next(DEAD, 10.0)
    for late_s in (0.0, 0.2, 60.0):
        assert joining.next(DEAD, 10.0 + ALONE_AFTER_S + late_s) is JoiningStep.GO_ALONE
        assert not joining.is_in_step, "it may not lead from the first attempt on"
    assert step(joining, DEAD, 80.0) is JoiningStep.GO_ALONE
    assert step(joining, FINDS_NO_WAY, 81.0) is JoiningStep.NOTHING
    late = 81.0 + LOST_AFTER_S
    assert joining.next(FINDS_NO_WAY, late) is JoiningStep.MAKE_ANEW
    assert step(joining, FINDS_NO_WAY, late + 0.2) is JoiningStep.MAKE_ANEW
    assert step(joining, FINDS_NO_WAY, late + 0.4) is JoiningStep.NOTHING
