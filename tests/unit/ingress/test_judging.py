"""What looks at the pipeline mean: growing, silent, stopped, not moving, halted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.storage.stream.backlog import Pile, TargetPile
from core.storage.stream.heartbeats import Heartbeat
from ingress.live import judging
from ingress.live.facts import STAGES, Facts, standings
from ingress.live.judging import Sample
from ingress.live.logs import LogHistory
from ingress.live.watching import top_targets
from ingress.models.page.pipeline import ShownStage
from schemas.record import Partition
from schemas.topics import GROUPS

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLACE = Partition(GROUPS["tagging"].name, 3)
NOTHING = {
    name: Pile(0, None) for name in ("outbox", "parked_images", "label_work", "parked_queries")
}
NEEDED = ("tagging", "tagging_bulk", "query", "delivery")


def beat(role: str, **values: Any) -> Heartbeat:
    """A part that is alive and has nothing to do."""
    said: dict[str, Any] = {
        "instance": f"{role}-0",
        "started_at": NOW - timedelta(hours=1),
        "seen_at": NOW,
        "progressed_at": NOW,
        "oldest_waiting": None,
        "waiting": 0,
        "still_s": 0.0,
        "done_per_s": 0.0,
        "about": {},
        "stopped_at": None,
    }
    return Heartbeat(role, **(said | values))


def facts(*beats: Heartbeat, at_s: float = 0.0, **values: Any) -> Facts:
    """What a look sees, so many seconds later."""
    roles = {one.role for one in beats}
    said: dict[str, Any] = {
        "at": NOW + timedelta(seconds=at_s),
        "moment": 1000.0 + at_s,
        "beats": [*beats, *(beat(role) for role in NEEDED if role not in roles)],
        "progress": {},
        "bounds": {},
        "piles": NOTHING,
        "due": [],
        "letters": [],
        "trends": {},
    }
    return Facts(**(said | values))


class Watching:
    """Looks one after the other, as `PipelineWatch` takes them."""

    def __init__(self) -> None:
        self.history = LogHistory()
        self.past: list[Sample] = []

    def look(self, seen: Facts, stage: str = "tagging") -> ShownStage:
        """Return one stage as this look sees it."""
        self.history.note(seen.moment, seen.bounds or {})
        now = Sample(seen.moment, standings(seen, self.history))
        found = {one.name: one for one in judging.stages(seen, now, self.past)}
        self.past.append(now)
        return found[stage]  # type: ignore[index]  # a name of them


def log(offset: int, end: int, start: int = 0) -> dict[str, Any]:
    """Where the group stands, and where its log begins and ends."""
    return {"progress": {"tagging": {PLACE: offset}}, "bounds": {PLACE: (start, end)}}


def test_a_stopped_consumer_shows_within_fifteen_seconds_that_work_grows() -> None:
    stopped, watching = beat("tagging", stopped_at=NOW), Watching()
    watching.look(facts(stopped, **log(10, 10)))
    shown = [watching.look(facts(stopped, at_s=at_s, **log(10, 11))) for at_s in (5, 10, 15)]

    assert [stage.is_growing for stage in shown][-1]
    assert [stage.oldest_waiting_s for stage in shown] == [0.0, 5.0, 10.0]
    assert (shown[-1].state, shown[-1].since) == ("stopped", NOW)


@pytest.mark.parametrize("rhythm_s", [1, 5])
def test_a_consumer_that_was_killed_shows_it_too_while_it_is_not_yet_called_silent(
    rhythm_s: int,
) -> None:
    killed, watching = beat("tagging", seen_at=NOW - timedelta(seconds=1)), Watching()
    watching.look(facts(killed, **log(10, 10)))
    for at_s in range(rhythm_s, 16, rhythm_s):
        shown = watching.look(facts(killed, at_s=at_s, **log(10, 11)))

    assert shown.is_growing
    assert watching.look(facts(killed, at_s=20, **log(10, 11))).state == "silent"


def test_a_batch_that_takes_its_time_is_not_called_growing() -> None:
    watching = Watching()
    for at_s in range(0, 40, 5):
        seen_at = NOW + timedelta(seconds=at_s)
        moving = beat("tagging", seen_at=seen_at, progressed_at=seen_at, waiting=64)
        shown = watching.look(facts(moving, at_s=at_s, **log(10, 74)))

    assert (shown.is_growing, shown.state) == (False, "keeps_up")
    assert (shown.oldest_waiting_s or 0) >= 30


def test_a_consumer_that_is_outrun_grows_though_it_moves() -> None:
    watching = Watching()
    for at_s in range(0, 100, 5):
        seen_at = NOW + timedelta(seconds=at_s)
        moving = beat("tagging", seen_at=seen_at, progressed_at=seen_at, waiting=1)
        shown = watching.look(facts(moving, at_s=at_s, **log(at_s, 20 + 2 * at_s)))

    assert (shown.is_growing, shown.state) == (True, "grows")
    assert (shown.in_per_s, shown.out_per_s) == (2.0, 1.0)


def test_a_backlog_that_gets_less_does_not_grow_however_old_it_is() -> None:
    watching = Watching()
    for at_s in range(0, 100, 5):
        seen_at = NOW + timedelta(seconds=at_s)
        moving = beat("tagging", seen_at=seen_at, progressed_at=seen_at, waiting=1)
        shown = watching.look(facts(moving, at_s=at_s, **log(at_s, 500)))

    assert not shown.is_growing
    assert (shown.oldest_waiting_s or 0) > 60


def test_what_waits_is_counted_within_the_bounds_of_the_log() -> None:
    watching = Watching()
    # Cut by retention, and made anew: progress stands before its begin, and behind its end.
    cut = watching.look(facts(**log(offset=5, start=100, end=130)))
    anew = Watching().look(facts(**log(offset=500, start=0, end=3)))

    assert (cut.waiting, anew.waiting, anew.oldest_waiting_s) == (30, 0, None)


def test_an_age_is_never_negative_though_clocks_differ() -> None:
    told = beat("tagging", waiting=1, oldest_waiting=NOW + timedelta(hours=1))
    shown = Watching().look(facts(told, **log(1, 2)))

    assert shown.oldest_waiting_s == 0.0


def test_what_a_process_told_of_the_oldest_is_not_older_by_the_time_since() -> None:
    told = beat(
        "tagging", waiting=1, seen_at=NOW - timedelta(seconds=4),
        oldest_waiting=NOW - timedelta(seconds=4.5),
    )  # fmt: skip
    shown = Watching().look(facts(told, **log(1, 2)))

    assert shown.oldest_waiting_s == 0.5


def test_while_kafka_is_away_the_processes_words_count_and_it_says_so() -> None:
    told = beat("tagging", waiting=7, oldest_waiting=NOW - timedelta(seconds=3))
    shown = Watching().look(facts(told, bounds=None))

    assert (shown.waiting, shown.oldest_waiting_s) == (7, 3.0)
    assert "as the processes told last" in (shown.detail or "")


def roles_of(seen: Facts) -> dict[str, str]:
    now = Sample(seen.moment, standings(seen, LogHistory()))
    shown = judging.stages(seen, now, ())
    return {role: one.status for role, one in judging.roles(seen, shown).items()}


@pytest.mark.parametrize("role", NEEDED)
def test_a_role_of_which_there_is_no_word_is_silent(role: str) -> None:
    whole = facts()
    without = replace(whole, beats=[one for one in whole.beats if one.role != role])
    silent = facts(beat(role, seen_at=NOW - timedelta(seconds=17)))

    assert roles_of(whole)[role] == "idle"
    assert roles_of(without)[role] == roles_of(silent)[role] == "silent"


def test_one_silent_process_of_a_role_does_not_make_the_role_silent() -> None:
    gone = beat("query", instance="query-1", seen_at=NOW - timedelta(minutes=2))
    seen = facts(beat("query"), gone)

    assert roles_of(seen)["query"] == "idle"
    states = {one.instance: one.state for one in judging.processes(seen)}
    assert (states["query-0"], states["query-1"]) == ("idle", "silent")


def test_alive_and_not_moving_is_told_from_nothing_to_do() -> None:
    seen = facts(beat("query", waiting=4, still_s=45.0))

    assert roles_of(seen)["query"] == "not_moving"
    (process,) = [one for one in judging.processes(seen) if one.role == "query"]
    assert process.state == "alive_not_moving"


def test_a_halted_partition_halts_its_role_and_stage_and_is_listed() -> None:
    halt = {
        "topic": PLACE.topic, "partition": 3, "reason": "below_log_start",
        "since": NOW.isoformat(),
    }  # fmt: skip
    seen = facts(beat("tagging", about={"halted": [halt]}))

    assert roles_of(seen)["tagging"] == "halted"
    shown = Watching().look(seen)
    assert (shown.state, shown.since) == ("halted", NOW)
    (listed,) = judging.halted(seen)
    assert (listed.group, listed.partition, listed.reason) == ("tagging", 3, "below_log_start")


def test_processes_that_are_not_needed_count_only_while_they_run() -> None:
    seen = facts(beat("watch", stopped_at=NOW), beat("jobs"))

    assert "watch" not in roles_of(seen)
    assert roles_of(seen)["jobs"] == "idle"


def test_answers_that_nobody_has_taken_over_are_told_apart_from_webhooks_at_a_target() -> None:
    answers = Partition(GROUPS["delivery"].name, 0)
    due = [TargetPile("https://a:443", "bob", 3, NOW - timedelta(seconds=9), "open", None)]
    seen = facts(progress={"delivery": {answers: 4}}, bounds={answers: (0, 10)}, due=due)

    deliveries = Watching().look(seen, "deliveries")
    outbox = Watching().look(seen, "outbox")

    assert (deliveries.waiting, deliveries.unread) == (9, 6)
    assert outbox.unread is None


def test_targets_are_shown_to_those_whose_webhooks_wait_there() -> None:
    due = [
        TargetPile("https://a:443", "bob", 1, NOW - timedelta(seconds=99), "broken", "breaker"),
        TargetPile("https://a:443", "alice", 3, NOW - timedelta(seconds=9), "broken", "breaker"),
        TargetPile("https://b:443", "bob", 2, NOW - timedelta(seconds=5), "disabled", "disabled"),
    ]
    seen = facts(due=due)

    (of_alice,) = top_targets(seen, "alice")
    assert (of_alice.waiting, of_alice.oldest_waiting_s, of_alice.state) == (3, 9.0, "broken")
    assert [(one.waiting, one.state, one.waits_for) for one in top_targets(seen, None)] == [
        (4, "broken", "breaker"),
        (2, "disabled", "disabled"),
    ]


def test_a_history_of_any_length_is_bounded_and_keeps_its_beginning() -> None:
    history = LogHistory()
    for moment in range(100_000):
        history.note(float(moment), {PLACE: (0, moment + 1)})

    assert history.there_since(PLACE, 0) == 0.0
    since = history.there_since(PLACE, 50_000)
    assert since is not None
    assert 50_000 <= since <= 55_000, "not older than it is, and not much younger"
    assert history.there_since(PLACE, 100_000) is None
    assert len(history._ends[PLACE]) <= 1000


def test_all_stages_have_the_names_of_the_document() -> None:
    assert [shape.name for shape in STAGES] == [
        "tagging", "tagging_bulk", "queries", "deliveries", "outbox", "parked_images", "label_work"
    ]  # fmt: skip


def open_for(seconds: int) -> Heartbeat:
    held = {"topic": PLACE.topic, "partition": 3, "offset": 17, "records": 4, "seconds": seconds}
    return beat("tagging", about={"open_transactions": [held]})


def test_a_transaction_that_stays_open_is_told_and_is_no_stall() -> None:
    seen = facts(open_for(61), **log(17, 17))
    stages = judging.stages(seen, Sample(seen.moment, standings(seen, LogHistory())), [])
    role = judging.roles(seen, stages)["tagging"]

    said = (
        f"{PLACE.topic}/3: a producer's transaction at offset 17 is open for 61 s; 4 offsets behind"
        " it wait"
    )
    assert (role.status, role.detail) == ("idle", said)
    assert next(one for one in stages if one.name == "tagging").detail == said


def test_a_transaction_that_is_open_for_minutes_does_not_hide_behind_an_idle_role() -> None:
    seen = facts(open_for(301), **log(17, 17))
    stages = judging.stages(seen, Sample(seen.moment, standings(seen, LogHistory())), [])

    assert judging.roles(seen, stages)["tagging"].status == "behind"
    assert judging.roles(seen, stages)["query"].status == "idle"
