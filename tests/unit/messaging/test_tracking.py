"""The tracker: what counts as ours, and what a fetch that straddles a claim must not lose."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.messaging.tracking import FetchAction, Tracker
from core.offsets import Claim, Move
from schemas.record import Partition
from tests.examples import examples

P0, P1 = Partition("t", 0), Partition("t", 1)


def tracker_with(*claims: Claim) -> Tracker:
    tracker = Tracker(reject_after=5)
    tracker.assigned([claim.partition for claim in claims])
    assert tracker.admit(claims, token=tracker.token)
    return tracker


def test_records_before_the_claim_are_dropped() -> None:
    tracker = Tracker(reject_after=5)
    tracker.assigned([P0])

    assert tracker.classify(P0, None, 0, 10).action is FetchAction.DROP


def test_a_fetch_that_began_before_the_claim_is_sought_back() -> None:
    tracker = tracker_with(Claim(P0, 40, epoch=7))

    classified = tracker.classify(P0, None, 40, 50)

    assert classified == (FetchAction.SEEK, 40)


def test_a_fetch_of_an_earlier_epoch_is_sought_back_even_if_it_fits() -> None:
    tracker = tracker_with(Claim(P0, 40, epoch=7))

    assert tracker.classify(P0, 6, 40, 50) == (FetchAction.SEEK, 40)
    assert tracker.classify(P0, 7, 40, 50) == (FetchAction.TAKE, 40)
    assert tracker.classify(P0, 7, 50, 51) == (FetchAction.TAKE, 50)


def test_a_client_that_ran_ahead_of_us_is_never_believed() -> None:
    tracker = tracker_with(Claim(P0, 40, epoch=7))

    assert tracker.classify(P0, 7, 43, 50) == (FetchAction.SEEK, 40)
    assert tracker.classify(P0, 7, 43, 50) == (FetchAction.SEEK, 40)
    assert tracker.position(P0) == 40


def test_a_stretch_without_records_moves_us_on_under_the_same_rules() -> None:
    tracker = tracker_with(Claim(P0, 40, epoch=7))

    assert tracker.classify(P0, 6, 40, 41) == (FetchAction.SEEK, 40)
    assert tracker.classify(P0, 7, 41, 42) == (FetchAction.SEEK, 40)
    assert tracker.classify(P0, 7, 40, 41) == (FetchAction.TAKE, 40)
    assert tracker.position(P0) == 41
    assert tracker.progress() == {P0: 40}, "only a commit under the epoch moves progress"


def test_records_that_were_taken_already_are_sought_over() -> None:
    tracker = tracker_with(Claim(P0, 40, epoch=7))
    tracker.classify(P0, 7, 40, 50)

    assert tracker.classify(P0, 7, 45, 56) == (FetchAction.SEEK, 50)


def test_what_waits_in_hand_has_the_time_of_its_first_record() -> None:
    tracker = tracker_with(Claim(P0, 40, epoch=7))
    tracker.classify(P0, 7, 40, 50, 1_000)
    tracker.classify(P0, 7, 50, 60, 2_000)
    assert tracker.waiting_since_ms() == {P0: 1_000}

    tracker.committed([Move(P0, 7, 40, 50)])
    assert tracker.waiting_since_ms() == {P0: 2_000}
    tracker.committed([Move(P0, 7, 50, 60)])
    assert tracker.waiting_since_ms() == {}


def test_a_claim_under_an_old_token_does_not_take_effect() -> None:
    tracker = Tracker(reject_after=5)
    tracker.assigned([P0])
    token = tracker.token
    tracker.revoked()
    tracker.assigned([P0])

    assert not tracker.admit([Claim(P0, 0, epoch=1)], token=token)
    assert tracker.unclaimed() == [P0]


def test_a_recovery_makes_all_work_in_flight_void_and_every_partition_unclaimed() -> None:
    tracker = tracker_with(Claim(P0, 0, epoch=1), Claim(P1, 0, epoch=1))
    token = tracker.token

    tracker.drop()

    assert not tracker.owns(P0, 1)
    assert tracker.unclaimed() == [P0, P1]
    assert not tracker.admit([Claim(P0, 0, epoch=2)], token=token)


def test_dropping_one_partition_leaves_the_others_alone() -> None:
    tracker = tracker_with(Claim(P0, 0, epoch=1), Claim(P1, 0, epoch=1))

    tracker.drop([P0])

    assert not tracker.owns(P0, 1)
    assert tracker.owns(P1, 1)
    assert tracker.unclaimed() == [P0]


def test_a_halted_partition_is_neither_owned_nor_claimed() -> None:
    tracker = tracker_with(Claim(P0, 0, epoch=1), Claim(P1, 0, epoch=1))

    tracker.halt(P0, "below_log_start")

    assert not tracker.owns(P0, 1)
    assert tracker.unclaimed() == []
    tracker.assigned([P0, P1])  # a rebalance: whoever gets it looks again
    assert tracker.unclaimed() == [P0, P1]


def test_only_the_record_that_was_alone_at_work_is_condemned() -> None:
    innocent = tracker_with(Claim(P0, 10, 1, crashes=9, attempted_offset=7, isolate_until=20))
    guilty = tracker_with(Claim(P0, 10, 1, crashes=5, attempted_offset=10, isolate_until=20))

    assert innocent.condemned() == {}
    assert guilty.condemned() == {(P0, 10): 5}


def test_isolation_ends_when_progress_has_passed_the_suspects() -> None:
    tracker = tracker_with(Claim(P0, 10, 1, crashes=2, isolate_until=12))
    assert tracker.isolating()

    tracker.committed([Move(P0, 1, 10, 11)])
    assert tracker.isolating()
    tracker.committed([Move(P0, 1, 11, 12)])
    assert not tracker.isolating()


class ClientModel(RuleBasedStateMachine):
    """aiokafka's position, a claim at any moment, fetches that straddle it, real gaps.

    Whatever happens, what is taken is every record of the log from the claimed offset on, once
    and in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tracker = Tracker(reject_after=5)
        self.log = list(range(60))
        self.position = 0
        self.database = 0
        self.epoch = 0
        self.taken: list[int] = []
        self.asked_epoch: int | None = None
        self.pending: tuple[int, int, list[int]] | None = None
        self.tracker.assigned([P0])

    @rule(missing=st.sets(st.integers(0, 59), max_size=5))
    def compact(self, missing: set[int]) -> None:
        self.log = [offset for offset in self.log if offset not in missing]

    @precondition(lambda self: self.pending is None)
    @rule(count=st.integers(1, 8))
    def ask(self, count: int) -> None:
        self.asked_epoch = self.tracker.ready().get(P0)
        start, self.position = self.position, min(self.position + count, 60)
        found = [offset for offset in self.log if start <= offset < self.position]
        self.pending = (start, self.position, found)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def answer(self) -> None:
        assert self.pending
        (start, end, records), self.pending = self.pending, None
        if end == start:
            return
        classified = self.tracker.classify(P0, self.asked_epoch, start, end)
        if classified.action is FetchAction.SEEK:
            self.position = classified.position
        elif classified.action is FetchAction.TAKE:
            self.taken += records

    @rule(back=st.integers(0, 5))
    def lose_and_claim(self, back: int) -> None:
        """A recovery: the database knows a part of what was taken; in flight is void."""
        self.database = self.taken[-1 - back] + 1 if len(self.taken) > back else 0
        self.taken = [offset for offset in self.taken if offset < self.database]
        self.tracker.drop()
        self.epoch += 1
        claim = Claim(P0, self.database, self.epoch)
        assert self.tracker.admit([claim], token=self.tracker.token)
        self.position = self.database

    @invariant()
    def nothing_lost_nothing_twice(self) -> None:
        if self.taken:
            expected = [o for o in range(self.taken[-1] + 1) if o in self.log or o in self.taken]
            assert sorted(set(self.taken)) == self.taken
            assert set(expected) <= set(self.taken) | (set(range(60)) - set(self.log))


TestClientModel = ClientModel.TestCase
TestClientModel.settings = settings(
    max_examples=examples(40, 1000), stateful_step_count=40, deadline=None
)
