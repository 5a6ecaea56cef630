"""What a look at the pipeline means, in the words that people read. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.storage.stream.heartbeats import Heartbeat
from ingress.live import outside
from ingress.live.facts import FRESH_S, STAGES, Facts, StageShape, StageStanding
from ingress.models.page.pipeline import (
    HaltedPartition,
    ProcessState,
    RoleHealth,
    ShownProcess,
    ShownStage,
    StageState,
)
from schemas.topics import GROUPS

#: A part that has work and did none of it for so long is said not to move.
STILL_S = 30.0
#: Growing is told from two looks this far apart: where nothing moves, and where it does. A batch
#: that is worked on takes its time, and what waits does not get less meanwhile.
GROWS_WITHIN_S = (4.5, 25.0)
OUTRUN_WITHIN_S = (45.0, 90.0)
#: Less waiting than this is not called growing, and this share of the time is.
LEAST_AGE_S, LEAST_SHARE = 2.0, 0.2
#: Rates are told from two looks this far apart.
RATE_WITHIN_S = (4.5, 60.0)
#: A role is behind when what grows has waited for so long. Bulk loads and slow pictures may wait.
BEHIND_S = 60.0
PATIENT = frozenset({"tagging_bulk", "tagging_slow", "upkeep"})
#: Without one of these an archive does not do its work.
NEEDED = tuple(group.replace("-", "_") for group in GROUPS)


@dataclass(frozen=True, slots=True)
class Sample:
    """What waited at one moment (monotonic)."""

    moment: float
    standings: Mapping[str, StageStanding]


def stages(facts: Facts, now: Sample, past: Sequence[Sample]) -> list[ShownStage]:
    """Return all stages as they are; `past`: earlier looks, oldest first."""
    return [_stage(facts, shape, now, past) for shape in STAGES]


def _stage(facts: Facts, shape: StageShape, now: Sample, past: Sequence[Sample]) -> ShownStage:
    standing = now.standings[shape.name]
    in_per_s, out_per_s = _rates(facts, shape, now, past)
    grows = is_growing(facts, shape, now, past)
    state, since = _state(facts, shape, standing, grows=grows)
    if state == "idle" and (in_per_s or out_per_s):
        state = "keeps_up"
    return ShownStage(
        name=shape.name,
        in_per_s=in_per_s,
        out_per_s=out_per_s,
        waiting=standing.waiting,
        unread=standing.unread,
        oldest_waiting_s=None if standing.oldest_s is None else round(standing.oldest_s, 1),
        trend=tuple(facts.trends.get(shape.name, (None,) * 60)),
        is_growing=grows,
        state=state,
        since=since,
        detail=_detail(facts, shape, standing),
    )


def is_growing(facts: Facts, shape: StageShape, now: Sample, past: Sequence[Sample]) -> bool:
    """Tell whether a stage's oldest work gets older, and no less of it waits."""
    within = OUTRUN_WITHIN_S if _is_moving(facts, shape) else GROWS_WITHIN_S
    then = _sample(past, now.moment, within)
    here = now.standings[shape.name]
    if then is None or here.oldest_s is None or here.oldest_s < LEAST_AGE_S:
        return False
    there = then.standings[shape.name]
    older_s = here.oldest_s - (there.oldest_s or 0.0)
    return older_s >= LEAST_SHARE * (now.moment - then.moment) and (
        here.waiting is None or there.waiting is None or here.waiting >= there.waiting
    )


def _is_moving(facts: Facts, shape: StageShape) -> bool:
    """Tell whether a process of the stage was heard of a moment ago and has just done something."""
    return any(
        facts.is_heard(beat, FRESH_S)
        and beat.progressed_at is not None
        and (beat.seen_at - beat.progressed_at).total_seconds() < STILL_S / 2
        for beat in facts.parts(shape.roles)
    )


def _state(
    facts: Facts, shape: StageShape, standing: StageStanding, *, grows: bool
) -> tuple[StageState, datetime | None]:
    halts = [one for one in halted(facts) if one.group == shape.group]
    if halts:
        return "halted", min((one.since for one in halts if one.since), default=None)
    if not facts.living(shape.roles):
        return _gone(facts.parts(shape.roles))
    if grows:
        oldest = timedelta(seconds=standing.oldest_s or 0.0)
        return "grows", facts.at - oldest
    return ("keeps_up" if standing.waiting else "idle"), None


def _gone(parts: Sequence[Heartbeat]) -> tuple[Literal["stopped", "silent"], datetime | None]:
    """Return how the last one of a role went, and when."""
    last = max(parts, key=lambda beat: beat.seen_at, default=None)
    if last is None:
        return "stopped", None
    if last.stopped_at is not None:
        return "stopped", last.stopped_at
    return "silent", last.seen_at


def _rates(
    facts: Facts, shape: StageShape, now: Sample, past: Sequence[Sample]
) -> tuple[float | None, float | None]:
    """Return how much comes and goes per second."""
    then = _sample(past, now.moment, RATE_WITHIN_S)
    if then is None:
        return None, None
    spent_s = now.moment - then.moment
    here, there = now.standings[shape.name], then.standings[shape.name]
    came, went = (
        _per_s(here.arrived, there.arrived, spent_s),
        _per_s(here.done, there.done, spent_s),
    )
    more = _per_s(here.waiting, there.waiting, spent_s, least=None)
    if went is None and came is None:
        roles = shape.roles[-1:]  # of two in a row the last one finishes
        went = sum(beat.done_per_s for beat in facts.living(roles))
    if came is None and went is not None:
        came = max(0.0, went + (more or 0.0))
    if went is None and came is not None:
        went = max(0.0, came - (more or 0.0))
    return tuple(None if rate is None else round(rate, 2) for rate in (came, went))  # type: ignore[return-value]  # of two


def _per_s(
    here: float | None, there: float | None, spent_s: float, least: float | None = 0.0
) -> float | None:
    if here is None or there is None:
        return None
    rate = (here - there) / spent_s
    return rate if least is None else max(least, rate)


def _sample(past: Sequence[Sample], now: float, within_s: tuple[float, float]) -> Sample | None:
    """Return the latest look that is at least so long ago, and at most so long."""
    least, most = within_s
    for sample in reversed(past):
        if now - sample.moment >= least:
            return sample if now - sample.moment <= most else None
    return None


def _detail(facts: Facts, shape: StageShape, standing: StageStanding) -> str | None:
    said = [
        f"{beat.instance}: alive, no progress for {beat.still_s:.0f} s"
        for beat in facts.living(shape.roles)
        if beat.still_s > STILL_S
    ]
    said += [f"waits for: {what}" for what in outside.waits(facts.living(shape.roles))]
    said += outside.open_transactions(facts.living(shape.roles))
    if shape.group is not None and facts.bounds is None:
        said.append("Kafka has not said in time where its logs end: as the processes told last")
    if shape.name == "queries" and (parked := facts.piles["parked_queries"].waiting):
        said.append(f"{parked} more wait for their upload to be tagged")
    if shape.name == "deliveries" and standing.waiting:
        said += _most_at_one(facts)
    return "; ".join(said) or None


def _most_at_one(facts: Facts) -> list[str]:
    """Return which target holds most of what is due, where one holds more than half."""
    waiting = Counter[str]()
    for pile in facts.due:
        waiting[pile.target] += pile.waiting
    if not waiting:
        return []
    ((_, most),) = waiting.most_common(1)
    total = waiting.total()
    return [f"1 target holds {most} of {total}"] if total > 1 and most * 2 > total else []


def halted(facts: Facts) -> list[HaltedPartition]:
    """Return the partitions that stand still until somebody acts, as their owners say."""
    return [
        HaltedPartition(group=beat.role.replace("_", "-"), **halt)
        for beat in facts.beats
        if facts.is_heard(beat)
        for halt in beat.about.get("halted", ())
    ]


def process_state(facts: Facts, beat: Heartbeat) -> ProcessState:
    """Return what a part of a process is doing."""
    if not facts.is_heard(beat):
        return "silent"
    if beat.still_s > STILL_S:
        return "alive_not_moving"
    return "moving" if beat.waiting or beat.done_per_s > 0 else "idle"


def processes(facts: Facts) -> list[ShownProcess]:
    """Return all parts of processes, but for those that have stopped as asked."""
    return [
        ShownProcess.of(beat, state=process_state(facts, beat), detail=_said(beat))
        for beat in facts.beats
        if beat.stopped_at is None
    ]


def _said(beat: Heartbeat) -> str | None:
    said = [
        f"{name.replace('_', ' ')}: {beat.about[name]}"
        for name in ("model", "waits_for")
        if beat.about.get(name)
    ]
    if beat.still_s > STILL_S:
        said.append(f"no progress for {beat.still_s:.0f} s although work waits")
    return "; ".join(said) or None


def roles(facts: Facts, shown: Sequence[ShownStage]) -> dict[str, RoleHealth]:
    """Return how each role is: those that every archive needs, and all others that run."""
    by_name = {stage.name: stage for stage in shown}
    stage_of = {role: by_name[shape.name] for shape in reversed(STAGES) for role in shape.roles}
    present = {beat.role for beat in facts.beats if beat.stopped_at is None}
    return {
        role: _role(facts, role, stage_of.get(role))
        for role in (*NEEDED, *sorted(present.difference(NEEDED)))
    }


def _role(facts: Facts, role: str, stage: ShownStage | None) -> RoleHealth:
    living = facts.living((role,))
    oldest = stage.oldest_waiting_s if stage is not None else None
    if not living:
        how, since = _gone(facts.parts((role,)))
        return RoleHealth(
            status="silent",
            since=since,
            oldest_waiting_s=oldest,
            instances=0,
            detail="its last process stopped as asked" if how == "stopped" and since else "no word",
        )
    halts = [halt for beat in living for halt in beat.about.get("halted", ())]
    if halts:
        return RoleHealth(
            status="halted",
            since=min((halt["since"] for halt in halts), default=None),
            oldest_waiting_s=oldest,
            instances=len(living),
            detail=", ".join(
                f"{halt['topic']}/{halt['partition']}: {halt['reason']}" for halt in halts
            ),
        )
    still = max(living, key=lambda beat: beat.still_s)
    if still.still_s > STILL_S:
        return RoleHealth(
            status="not_moving",
            since=still.seen_at - timedelta(seconds=still.still_s),
            oldest_waiting_s=oldest,
            instances=len(living),
            detail=f"{still.instance}: no progress although work waits",
        )
    is_behind = stage is not None and stage.is_growing and (oldest or 0.0) >= BEHIND_S
    is_idle = all(process_state(facts, beat) == "idle" for beat in living)
    is_late = outside.is_held(living) or (is_behind and role not in PATIENT)
    return RoleHealth(
        status="behind" if is_late else "idle" if is_idle else "ok",
        since=facts.at - timedelta(seconds=oldest or 0.0) if is_behind else None,
        oldest_waiting_s=oldest,
        instances=len(living),
        detail="; ".join([*outside.waits(living), *outside.open_transactions(living)]) or None,
    )
