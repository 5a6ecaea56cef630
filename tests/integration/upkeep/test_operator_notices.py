"""What happens to the archive itself is told to the endpoints that asked, each thing once."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from consumers.delivery.courier import outgoing_of
from consumers.upkeep.operator_notices import OperatorNotices
from core.storage.delivery import endpoints, operator_events, redelivery, targets
from core.storage.delivery.redelivery import RedeliveryChoice
from core.storage.pool import Pool
from core.storage.stream import heartbeats
from core.telemetry.vitals import Beat
from schemas.operator_event import OperatorNotice

URL = "https://ops.example/hook"
HALT = {
    "topic": "images.arrived.v1",
    "partition": 3,
    "reason": "below_log_start",
    "since": "2026-11-30T12:00:00+00:00",
}


async def subscribe(pool: Pool, url: str = URL, *, operator_events: bool = True) -> UUID:
    async with pool.transaction() as tx:
        made = await endpoints.add(
            tx, owner="ann", url=url, name="", operator_events=operator_events
        )
    assert made is not None
    return made.endpoint_id


async def told(pool: Pool) -> list[OperatorNotice]:
    """What is on the schedule, the oldest first."""
    rows = await pool.fetch("SELECT event::text AS event FROM deliveries ORDER BY created_at")
    found = [outgoing_of(row["event"]) for row in rows]
    assert all(isinstance(one, OperatorNotice) for one in found)
    return [one for one in found if isinstance(one, OperatorNotice)]


async def disable(pool: Pool, target: str = "https://shop.example:443") -> None:
    async with pool.transaction() as tx:
        await targets.disable(tx, target, actor="breaker", reason="it failed")


async def say_halted(pool: Pool, *halts: object) -> None:
    beat = Beat("tagging", "one", 1.0, None, 0, None, 0.0, 0.0, {"halted": list(halts)})
    await heartbeats.beat(pool, "one", [beat])


async def test_a_disabled_host_is_told_once_to_those_who_asked(pool: Pool) -> None:
    await subscribe(pool)
    await subscribe(pool, "https://second.example/hook")
    await subscribe(pool, "https://shop.example/answers", operator_events=False)
    notices = OperatorNotices(pool)

    await disable(pool)
    for _ in range(3):
        await notices.step()

    found = await told(pool)
    assert {one.url for one in found} == {URL, "https://second.example/hook"}
    assert len(found) == 2
    assert found[0].type == "target.disabled"
    assert found[0].data == {
        "target": "https://shop.example:443",
        "actor": "breaker",
        "reason": "it failed",
    }
    assert len({one.operator_event_id for one in found}) == 1
    ids = await pool.fetch("SELECT delivery_id, target FROM deliveries")
    assert len({row["delivery_id"] for row in ids}) == 2, "a webhook has an id of its own"
    lanes = await pool.fetch("SELECT target FROM lanes WHERE due_at <= now()")
    assert {row["target"] for row in lanes} == {
        "https://ops.example:443",
        "https://second.example:443",
    }


async def test_what_was_told_is_neither_written_nor_locked_by_the_next_look(pool: Pool) -> None:
    """An archive ends thousands of jobs in a day, and a look comes every five seconds."""
    await subscribe(pool)
    await disable(pool)
    await OperatorNotices(pool).step()
    before = await pool.fetch("SELECT xmin::text, xmax::text FROM operator_events")

    await OperatorNotices(pool).step()

    assert await pool.fetch("SELECT xmin::text, xmax::text FROM operator_events") == before


async def test_what_two_endpoints_were_told_can_be_sent_again_to_both(pool: Pool) -> None:
    await subscribe(pool)
    await subscribe(pool, "https://second.example/hook")
    await disable(pool)
    await OperatorNotices(pool).step()
    await pool.execute("UPDATE deliveries SET state = 'delivered', finished_at = now()")

    async with pool.transaction() as tx:
        again = await redelivery.redeliver(tx, RedeliveryChoice(states=("delivered",)), limit=10)

    assert len(set(again.anew)) == 2
    due = await pool.fetch("SELECT url FROM deliveries WHERE state = 'due'")
    assert {row["url"] for row in due} == {URL, "https://second.example/hook"}


async def test_what_happened_before_somebody_asked_is_not_told(pool: Pool) -> None:
    await disable(pool)
    await pool.execute("UPDATE target_events SET at = at - interval '1 minute'")
    await subscribe(pool)

    await OperatorNotices(pool).step()

    assert await told(pool) == []


async def test_a_death_before_the_commit_leaves_it_untold_and_the_next_look_tells_it(
    pool: Pool,
) -> None:
    await subscribe(pool)
    await disable(pool)

    async def dies() -> None:
        async with pool.transaction() as tx:
            assert len(await operator_events.note(tx)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await dies()
    assert await told(pool) == []
    await OperatorNotices(pool).step()

    assert len(await told(pool)) == 1


async def test_two_processes_that_look_at_once_tell_it_once(pool: Pool) -> None:
    await subscribe(pool)
    await disable(pool)

    await asyncio.gather(*(OperatorNotices(pool).step() for _ in range(4)))

    assert len(await told(pool)) == 1


async def test_a_halt_is_told_once_while_it_lasts_and_again_after_it_had_ended(pool: Pool) -> None:
    await subscribe(pool)
    notices = OperatorNotices(pool)
    await say_halted(pool, HALT)
    for _ in range(3):
        await notices.step()

    (first,) = await told(pool)
    assert first.type == "partition.halted"
    assert first.data == {**HALT, "group": "tagging"}

    await say_halted(pool)
    await pool.execute("UPDATE operator_events SET seen_at = seen_at - interval '11 minutes'")
    await notices.step()
    await say_halted(pool, HALT)
    await notices.step()
    await notices.step()

    again = await told(pool)
    assert len(again) == 2
    assert again[0].operator_event_id != again[1].operator_event_id


async def test_a_job_that_ends_is_told_with_its_counts(pool: Pool) -> None:
    await subscribe(pool)
    job_id = uuid4()
    await pool.execute(
        "INSERT INTO jobs (job_id, kind, root, directory, state, total, announced, finished_at)"
        " VALUES ($1, 'directory', 'photos', '2024', 'done', 12, 12, now())",
        job_id,
    )

    await OperatorNotices(pool).step()

    (one,) = await told(pool)
    assert one.type == "job.finished"
    assert one.data["job_id"] == str(job_id)
    assert (one.data["state"], one.data["total"]) == ("done", 12)


@pytest.mark.parametrize(
    ("stage", "before", "lately", "is_told"),
    [
        ("queries", 10.0, 400.0, True),
        ("queries", None, 400.0, True),
        ("queries", 500.0, 400.0, False),
        ("queries", 10.0, 200.0, False),
        ("tagging_bulk", 10.0, 4000.0, False),
    ],
)
async def test_a_backlog_is_told_when_it_is_long_and_grows(
    pool: Pool, stage: str, before: float | None, lately: float, *, is_told: bool
) -> None:
    await subscribe(pool)
    for slot, minutes, oldest in ((0, 11, before), (1, 0, lately)):
        if oldest is not None:
            await pool.execute(
                "INSERT INTO stage_trends (stage, slot, at, oldest_s)"
                " VALUES ($1, $2, now() - $3 * interval '1 minute', $4)",
                stage,
                slot,
                minutes,
                oldest,
            )
    for _ in range(2):
        await OperatorNotices(pool).step()

    found = [(one.type, one.data) for one in await told(pool)]
    expected = [("backlog.grows", {"stage": stage, "oldest_waiting_s": lately})]
    assert found == (expected if is_told else [])


async def test_nobody_looks_while_nobody_asked(pool: Pool) -> None:
    assert not await operator_events.have_listeners(pool)
    await subscribe(pool, operator_events=False)
    assert not await operator_events.have_listeners(pool)
    await subscribe(pool, "https://second.example/hook")
    assert await operator_events.have_listeners(pool)


def test_what_is_stored_of_an_answer_is_not_taken_for_an_event() -> None:
    notice = OperatorNotice(
        operator_event_id=uuid4(),
        webhook_id=uuid4(),
        type="job.finished",
        url=URL,
        happened_at="2026-11-30T12:00:00Z",
        data={"total": 3},
    )

    assert outgoing_of(notice.model_dump_json(exclude_none=True)) == notice
    assert json.loads(notice.model_dump_json())["data"] == {"total": 3}
