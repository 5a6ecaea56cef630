"""How many attempts hosts may get, on a clock that the test moves."""

from dataclasses import dataclass, field
from math import inf
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.pacing import Pacer
from consumers.delivery.target_pace import (
    MAX_OPEN_S,
    UNTRIED_S,
    BreakerChange,
    PaceLimits,
    TargetHealth,
    Tier,
)


@dataclass
class Bench:
    """A pacer, its clock, and the attempts in flight."""

    pacer: Pacer
    now: float = 1000.0
    running: list[tuple[str, UUID]] = field(default_factory=list)

    def begin(self, host: str, sender: str = "ann") -> UUID:
        delivery_id = uuid4()
        self.pacer.reserve(host, delivery_id, self.now, sender)
        self.pacer.begin(host, delivery_id, self.now)
        self.running.append((host, delivery_id))
        return delivery_id

    def attempt(
        self,
        host: str,
        health: TargetHealth,
        took_s: float = 0.1,
        pause_s: float = 0.0,
        sender: str = "ann",
    ) -> BreakerChange:
        delivery_id = self.begin(host, sender)
        self.now += took_s
        self.running.remove((host, delivery_id))
        return self.pacer.end(host, delivery_id, health, self.now, pause_s)

    def room(self, host: str, sender: str = "ann") -> int:
        rooms = self.pacer.rooms(self.now)
        room = dict(zip(rooms.targets, rooms.rooms, strict=True)).get(host, rooms.new_target)
        share = dict(zip(rooms.targets, rooms.shares, strict=True)).get(host, rooms.new_target)
        return min(room, share - rooms.flights.get((host, sender), 0))

    def tier(self, host: str) -> int:
        rooms = self.pacer.rooms(self.now)
        return dict(zip(rooms.targets, rooms.tiers, strict=True)).get(host, Tier.NEW)


def bench(workers: int = 32, per_target: int = 8, rate: float = 0.0) -> Bench:
    return Bench(Pacer(PaceLimits(workers, per_target, rate_per_s=rate)))


def opened(world: Bench, host: str = "a") -> Bench:
    for _ in range(10):
        world.attempt(host, TargetHealth.BAD)
    assert world.room(host) == 0
    return world


def test_a_host_that_answers_in_time_gets_more_until_its_cap() -> None:
    world = bench()
    before = world.room("a")

    for _ in range(20):
        world.attempt("a", TargetHealth.GOOD)

    assert (before, world.room("a"), world.tier("a")) == (2, 7, Tier.STEADY)
    assert world.pacer.rooms(world.now).rooms == (8,), "one of them is for another sender"


def test_a_failure_halves_what_a_host_gets_and_makes_it_a_suspect() -> None:
    world = bench()
    for _ in range(20):
        world.attempt("a", TargetHealth.GOOD)

    world.attempt("a", TargetHealth.BAD)

    assert (world.room("a"), world.tier("a")) == (4, Tier.SUSPECT)


def test_a_host_is_a_suspect_as_soon_as_an_attempt_takes_long() -> None:
    world = bench()
    world.attempt("a", TargetHealth.GOOD)
    world.begin("a")
    before = world.tier("a")

    world.now += 1.5

    assert (before, world.tier("a")) == (Tier.STEADY, Tier.SUSPECT)


def test_a_slow_host_gets_half_of_what_a_fast_one_gets() -> None:
    world = bench()

    for _ in range(20):
        world.attempt("a", TargetHealth.GOOD, took_s=5)

    assert (world.room("a"), world.tier("a")) == (4, Tier.SUSPECT)


def test_suspects_together_get_half_of_the_workers_and_new_hosts_a_quarter() -> None:
    world = bench(workers=32)
    for number in range(40):
        world.attempt(f"bad{number}", TargetHealth.BAD)

    assert world.pacer.rooms(world.now).by_tier == (32, 8, 16)


def test_the_breaker_opens_at_ten_attempts_of_which_seventy_percent_failed() -> None:
    world = bench()
    for _ in range(3):
        world.attempt("a", TargetHealth.GOOD)
    for _ in range(6):
        assert world.attempt("a", TargetHealth.BAD) == BreakerChange()

    assert world.attempt("a", TargetHealth.BAD) == BreakerChange(opened=True, opens=1)
    assert world.room("a") == 0
    assert world.pacer.open_breakers(world.now) == 1


def test_a_target_is_broken_from_its_first_opening_to_a_good_answer_or_until_nobody_tries() -> None:
    world = bench()
    for _ in range(10):
        world.attempt("a", TargetHealth.BAD)
    opened_at = world.now

    for _ in range(30):
        world.now += 600
        world.attempt("a", TargetHealth.BAD)
    assert world.pacer.longest_broken_s(world.now) == pytest.approx(world.now - opened_at)

    world.attempt("a", TargetHealth.GOOD)
    assert world.pacer.longest_broken_s(world.now) == 0

    for _ in range(10):
        world.attempt("b", TargetHealth.BAD)
    world.now += UNTRIED_S + 1
    assert world.pacer.longest_broken_s(world.now) == 0, "its last webhook was given up long ago"


def test_the_breaker_stays_closed_while_the_target_answers_somebody_else() -> None:
    world = bench()
    for number in range(40):
        world.attempt("a", TargetHealth.BAD, sender="dead")
        if number % 4 == 0:
            assert world.attempt("a", TargetHealth.GOOD, sender="ann") == BreakerChange()

    assert world.room("a") > 0
    changes = [world.attempt("a", TargetHealth.BAD, sender="dead") for _ in range(10)]
    assert [change.opened for change in changes].count(True) == 1, "nobody is answered any more"


def test_an_answer_to_one_opens_the_lane_for_all_at_once_but_not_before_a_retry_after() -> None:
    world = bench()
    late = world.begin("a", "bob")
    opened(world)

    ended = world.pacer.end("a", late, TargetHealth.GOOD, world.now)

    assert ended == BreakerChange(closed=True)
    assert world.room("a", "ann") > 0
    assert world.pacer.wait_s(world.now) == inf
    world.attempt("a", TargetHealth.BAD, pause_s=60)
    world.attempt("a", TargetHealth.GOOD)
    assert world.room("a") == 0


def test_one_sender_who_waits_for_answers_leaves_room_for_another() -> None:
    world = bench()
    opened(world)
    world.now += 30
    world.begin("a", "dead")  # the probe, which hangs

    assert world.room("a", "dead") == 0
    assert world.room("a", "ann") == 1
    world.begin("a", "ann")
    assert world.room("a", "bob") == 0, "one more, not one for each"


def test_senders_together_get_no_more_of_a_target_than_its_connections() -> None:
    world = bench(per_target=3)
    for _ in range(20):
        world.attempt("a", TargetHealth.GOOD)
    world.begin("a", "dead")
    world.begin("a", "dead")

    assert (world.room("a", "dead"), world.room("a", "ann")) == (0, 1)
    world.begin("a", "ann")
    assert world.room("a", "ann") == 0


def test_failures_of_long_ago_do_not_open_a_breaker() -> None:
    world = bench()
    for _ in range(9):
        world.attempt("a", TargetHealth.BAD)

    world.now += 301

    assert world.attempt("a", TargetHealth.BAD) == BreakerChange()


def test_after_the_silence_one_probe_goes_out_and_a_good_answer_closes() -> None:
    world = opened(bench())
    world.now += 30
    assert world.room("a") == 1
    world.begin("a")
    assert world.room("a") == 0
    (_, probe) = world.running[0]

    ended = world.pacer.end("a", probe, TargetHealth.GOOD, world.now)

    assert ended == BreakerChange(closed=True)
    assert world.room("a") == 2


def test_a_failed_probe_opens_again_for_twice_as_long_up_to_five_minutes() -> None:
    world = opened(bench())
    silences = []
    for _ in range(6):
        world.now += world.pacer.wait_s(world.now)
        world.attempt("a", TargetHealth.BAD, took_s=0)
        silences.append(world.pacer.wait_s(world.now))

    assert [round(silence) for silence in silences] == [60, 120, 240, 300, 300, 300]
    assert max(silences) <= MAX_OPEN_S


def test_what_was_in_flight_when_the_breaker_opened_does_not_prolong_it() -> None:
    world = bench()
    late = world.begin("a")
    opened(world)
    wait_s = world.pacer.wait_s(world.now)

    assert world.pacer.end("a", late, TargetHealth.BAD, world.now) == BreakerChange(opens=1)
    assert world.pacer.wait_s(world.now) == wait_s


def test_faults_of_our_own_say_nothing_of_the_host() -> None:
    world = bench()

    for _ in range(50):
        world.attempt("a", TargetHealth.UNKNOWN)

    assert (world.room("a"), world.tier("a")) == (2, Tier.NEW)


def test_a_retry_after_silences_the_host_for_that_time() -> None:
    world = bench()

    world.attempt("a", TargetHealth.BAD, pause_s=7)

    assert world.room("a") == 0
    assert world.pacer.wait_s(world.now) == 7
    assert world.pacer.open_breakers(world.now) == 0
    world.now += 7
    assert world.room("a") == 1


def test_the_rate_is_reserved_when_an_attempt_begins_not_when_it_ends() -> None:
    world = bench(per_target=100, workers=100, rate=5)
    world.attempt("a", TargetHealth.GOOD, took_s=1)
    for _ in range(10):
        world.attempt("a", TargetHealth.GOOD, took_s=0)
    world.now += 10
    begun = 0
    while world.room("a"):
        world.begin("a")
        begun += 1

    assert begun == 5
    world.now += 0.2
    assert world.room("a") == 1


def test_a_lane_that_waits_for_its_rate_says_when_it_opens() -> None:
    world = bench(rate=2)
    world.begin("a")
    world.begin("a")

    assert 0 < world.pacer.wait_s(world.now) <= 0.5
    world.now += 0.5
    assert world.room("a") == 0  # the cap of a new host
    assert bench().pacer.wait_s(world.now) == inf


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from(list(TargetHealth)),
            st.floats(0, 60),
            st.integers(1, 8),
        ),
        max_size=200,
    ),
    st.integers(1, 40),
)
def test_nothing_exceeds_its_bound_whatever_happens(
    steps: list[tuple[str, TargetHealth, float, int]], workers: int
) -> None:
    world = bench(workers=workers)
    for host, health, pause_s, at_once in steps:
        for _ in range(at_once):
            rooms = world.pacer.rooms(world.now)
            if world.room(host) and rooms.total and rooms.by_tier[world.tier(host)]:
                world.begin(host)
        assert world.pacer.in_flight <= workers
        assert all(0 <= room <= 8 for room in world.pacer.rooms(world.now).rooms)
        world.now += pause_s / 10
        if world.running:
            one, delivery_id = world.running.pop(0)
            world.pacer.end(one, delivery_id, health, world.now)
    assert world.pacer.in_flight == len(world.running)


def test_webhooks_claimed_ahead_take_room_but_say_nothing_of_their_host_while_they_wait() -> None:
    pacer = Pacer(PaceLimits(workers=4, per_target=8, ahead=4, slow_s=1.0))
    waiting = [uuid4() for _ in range(6)]

    for delivery_id in waiting:
        pacer.reserve("a", delivery_id, 0.0, "ann")

    assert pacer.rooms(100.0).total == 2
    assert pacer.in_flight == 0
    assert pacer.rooms(100.0).tiers == (Tier.NEW,)
    pacer.begin("a", waiting[0], 100.0)
    pacer.end("a", waiting[0], TargetHealth.GOOD, 100.1)
    assert pacer.rooms(100.1).tiers == (Tier.STEADY,), "the wait was counted as the target's"


def test_what_is_claimed_ahead_does_not_widen_the_share_of_bad_hosts() -> None:
    narrow = Pacer(PaceLimits(workers=16, per_target=8))
    wide = Pacer(PaceLimits(workers=16, per_target=8, ahead=16))

    assert wide.rooms(0.0).total == 2 * narrow.rooms(0.0).total
    assert wide.rooms(0.0).by_tier[1:] == narrow.rooms(0.0).by_tier[1:]


def test_a_view_shows_a_targets_breaker_pause_and_rate() -> None:
    pacer = Pacer(PaceLimits(workers=32, per_target=8, rate_per_s=2.0))
    attempts = [uuid4() for _ in range(10)]
    for attempt in attempts:
        pacer.reserve("a", attempt, 0.0, "ann")
        pacer.begin("a", attempt, 0.0)
        pacer.end("a", attempt, TargetHealth.BAD, 1.0)
    busy = uuid4()
    pacer.reserve("b", busy, 1.0, "ann")
    pacer.reserve("b", uuid4(), 1.0, "ann")
    pacer.end("b", busy, TargetHealth.GOOD, 1.0, pause_s=7.0)

    broken, asked = pacer.view("a", 1.0), pacer.view("b", 1.0)

    assert pacer.view("c", 1.0) is None
    assert broken is not None
    assert asked is not None
    assert (broken.opened_s, broken.is_half_open, broken.failures) == (30.0, True, 10)
    assert (asked.paused_s, asked.in_flight, asked.opened_s) == (7.0, 1, 0.0)
    assert asked.rated_s == 0.5
    assert not asked.is_settled
