"""What is shown of a webhook: each attempt, why it waits, and what people did about it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry

from consumers.delivery.attempts import Tried
from consumers.delivery.metrics import LaneMetrics
from consumers.delivery.pacing import Pacer
from consumers.delivery.reporting import TargetReports
from consumers.delivery.target_pace import PaceLimits
from core.egress.urls import lane_of
from core.storage.delivery import deliveries, lanes, target_health, targets
from core.storage.delivery.deliveries import Answered, Attempt, Leased, Settled
from core.storage.delivery.lanes import Room
from core.storage.delivery.target_health import ReportedTarget
from core.storage.pool import Pool
from core.storage.queries import queries
from core.storage.stream import backlog
from core.telemetry.metrics import Metrics
from ingress.auth.api_keys import Scope
from schemas.callback import callback_id_of
from tests.fakes import queries as queries_fake
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World

TARGET = "https://a.example:443"
FAILED = Attempt(
    datetime(2026, 5, 1, tzinfo=UTC),
    45,
    status=503,
    times_ms={"dns": 4, "tls": 31, "wait": 8},
    answered=Answered([("server", "x"), ("set-cookie", "(not kept)")], b"caf\xe9\x00" * 3, True),
)


async def answered(
    pool: Pool, *, owner: str = "alice", host: str = "a.example", image_id: UUID | None = None
) -> UUID:
    query_id, url = uuid4(), f"https://{host}/x"
    async with pool.transaction() as tx:
        await queries.accept(
            tx, query_id=query_id, owner=owner, text="cats", callback_url=url, options={}
        )
        await queries.answer(tx, [queries_fake.answered(query_id, url, image_id)])
        webhook = queries_fake.webhook(callback_id_of(query_id), query_id, owner, lane_of(url), url)
        await deliveries.schedule(tx, [webhook])
    return query_id


async def claim(pool: Pool) -> Leased:
    async with pool.transaction() as tx:
        [lease] = await lanes.claim(tx, Room(new_target=100), token=uuid4(), lease_s=30)
    return lease


async def fail(pool: Pool, *, after_s: float = 3600, waits_for: str = "schedule") -> Leased:
    lease = await claim(pool)
    next_at = datetime.now(UTC) + timedelta(seconds=after_s)
    async with pool.transaction() as tx:
        await deliveries.settle(tx, [(lease, FAILED, Settled("due", next_at, waits_for=waits_for))])
    return lease


async def shown(http: httpx.AsyncClient, query_id: UUID) -> dict[str, Any]:
    answer = await http.get(f"/queries/{query_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def webhook_of(http: httpx.AsyncClient, query_id: UUID) -> dict[str, Any]:
    found: dict[str, Any] = (await shown(http, query_id))["deliveries"][-1]
    return found


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_an_attempt_is_shown_with_its_times_and_its_answer(world: World) -> None:
    query_id = await answered(world.pool)
    await fail(world.pool)
    async with world.client(Scope.QUERY) as http:
        query = await shown(http, query_id)

    [attempt] = query["deliveries"][0]["attempts"]
    assert (attempt["status"], attempt["took_ms"]) == (503, 45)
    steps = ("dns_ms", "connect_ms", "tls_ms", "wait_ms")
    assert [attempt[step] for step in steps] == [4, None, 31, 8]
    assert attempt["headers"] == [["server", "x"], ["set-cookie", "(not kept)"]]
    assert attempt["body"] == "caf\ufffd\0" * 3
    assert (attempt["body_is_cut"], attempt["is_manual"]) == (True, False)
    assert (query["state"], query["host"], query["attempts"]) == ("will_retry", "a.example", 1)
    assert query["signature_help"]["webhook_id"] == str(callback_id_of(query_id))


async def test_a_webhook_says_what_it_waits_for_and_until_when(world: World) -> None:
    query_id = await answered(world.pool)
    now = datetime.now(UTC)

    async def told(**known: Any) -> tuple[str | None, str | None]:
        default: Mapping[str, Any] = {
            "target": TARGET, "cap": 4, "in_flight": 0, "failures": 0, "is_half_open": False,
            **dict.fromkeys(("opened_until", "paused_until", "rated_until", "last_ok_at")),
            **dict.fromkeys(("last_error", "last_error_at", "p99_ms")),
        }  # fmt: skip
        reported = ReportedTarget(**{**default, **known})
        await target_health.report(world.pool, "delivery-0", [reported])
        webhook = await webhook_of(http, query_id)
        return webhook["waits_for"], webhook["waits_until"]

    soon, later = now + timedelta(seconds=100), now + timedelta(hours=2)
    async with world.client(Scope.QUERY) as http:
        assert await told() == (None, None), "it goes at once"
        assert await told(in_flight=4) == ("room", None)
        why, until = await told(rated_until=soon)
        assert (why, moment(until or "")) == ("rate", soon)
        why, until = await told(opened_until=soon)
        assert (why, moment(until or "")) == ("breaker", soon)
        why, until = await told(paused_until=later, opened_until=soon)
        assert (why, moment(until or "")) == ("retry_after", later)
        await told()
        await fail(world.pool)
        assert (await told())[0] == "schedule"
        assert (await told(opened_until=soon))[0] == "schedule", "which lasts longer"
        assert (await told(opened_until=later))[0] == "breaker"
        async with world.pool.transaction() as tx:
            await targets.disable(tx, TARGET, actor="root")
        assert await told(opened_until=later) == ("disabled", None)


@pytest.mark.parametrize("failures", [0, 1])
async def test_what_running_processes_leave_although_it_is_due_waits_for_room(
    world: World, failures: int
) -> None:
    query_id = await answered(world.pool)
    for _ in range(failures):
        await fail(world.pool)
    await world.pool.execute("UPDATE deliveries SET next_at = now() - interval '30 seconds'")
    await world.pool.execute("UPDATE lanes SET due_at = now() - interval '30 seconds'")
    async with world.client(Scope.QUERY) as http:
        assert (await webhook_of(http, query_id))["waits_for"] is None, "no process runs"
        await world.pool.execute(
            "INSERT INTO heartbeats (role, instance) VALUES ('delivery_lanes', 'delivery-0')"
        )
        assert (await webhook_of(http, query_id))["waits_for"] == "room"
        assert (await shown(http, query_id))["waits_for"] == "room"
    [pile] = await backlog.targets(world.pool)
    assert pile.waits_for == "room"


async def test_a_retry_that_its_receiver_asked_for_says_so(world: World) -> None:
    query_id = await answered(world.pool)
    await fail(world.pool, waits_for="retry_after")
    async with world.client(Scope.QUERY) as http:
        webhook = await webhook_of(http, query_id)

    assert webhook["waits_for"] == "retry_after"
    assert webhook["waits_until"] == webhook["next_at"]


async def test_a_manual_attempt_leaves_the_automatic_ones_as_they_were(world: World) -> None:
    query_id = await answered(world.pool)
    await fail(world.pool)
    async with world.client(Scope.QUERY) as http:
        planned = (await webhook_of(http, query_id))["next_at"]
        again = await http.post(f"/queries/{query_id}/redeliver")
        twice = await http.post(f"/queries/{query_id}/redeliver")
        pending = await webhook_of(http, query_id)
        manual = await fail(world.pool, after_s=5)
        after = await webhook_of(http, query_id)

    assert (again.status_code, again.json()["attempt"]) == (202, 2), again.text
    assert twice.json()["attempt"] == 2
    assert pending["is_manual"]
    assert (manual.attempt, manual.made) == (2, 1), "no step of the schedule"
    assert [one["is_manual"] for one in after["attempts"]] == [False, True]
    assert (after["next_at"], after["is_manual"]) == (planned, False)
    assert after["delivery_id"] == str(callback_id_of(query_id))
    await world.pool.execute("UPDATE deliveries SET next_at = now()")
    await world.pool.execute("UPDATE lanes SET due_at = now()")
    assert (await claim(world.pool)).made == 2, "the schedule goes on where it was"


async def test_a_receiver_that_asks_for_a_pause_in_a_manual_attempt_gets_it(world: World) -> None:
    query_id = await answered(world.pool)
    await fail(world.pool, after_s=60)
    async with world.client(Scope.QUERY) as http:
        await http.post(f"/queries/{query_id}/redeliver")
        await fail(world.pool, after_s=7200, waits_for="retry_after")
        webhook = await webhook_of(http, query_id)

    assert moment(webhook["next_at"]) > datetime.now(UTC) + timedelta(hours=1)
    assert webhook["waits_for"] == "retry_after"


async def test_a_stopped_webhook_is_not_sent_until_it_is_asked_for_again(world: World) -> None:
    query_id = await answered(world.pool)
    await fail(world.pool)
    async with world.client(Scope.QUERY) as http, world.client(Scope.QUERY, owner="bob") as bob:
        problem_in(await bob.post(f"/queries/{query_id}/stop"), "query_not_found")
        stopped = await http.post(f"/queries/{query_id}/stop")
        problem_in(await http.post(f"/queries/{query_id}/stop"), "nothing_to_stop")
        now = await shown(http, query_id)
        await http.post(f"/queries/{query_id}/redeliver")
        resumed = await shown(http, query_id)

    assert stopped.json() == {"query_id": str(query_id), "stopped": 1, "under_way": 0}
    webhook = now["deliveries"][0]
    assert (now["state"], webhook["reason"], webhook["stopped_by"]) == (
        "stopped",
        "stopped",
        "alice",
    )
    assert webhook["waits_for"] is None
    assert (resumed["state"], resumed["deliveries"][0]["stopped_by"]) == ("will_retry", None)


async def test_of_a_webhook_under_way_the_attempt_ends_and_none_follows(world: World) -> None:
    query_id = await answered(world.pool)
    lease = await claim(world.pool)
    async with world.client(Scope.QUERY) as http:
        stopped = await http.post(f"/queries/{query_id}/stop")
        async with world.pool.transaction() as tx:
            soon = Settled("due", datetime.now(UTC), waits_for="schedule")
            await deliveries.settle(tx, [(lease, FAILED, soon)])
        query = await shown(http, query_id)

    assert (stopped.json()["stopped"], stopped.json()["under_way"]) == (0, 1)
    assert (query["state"], len(query["deliveries"][0]["attempts"])) == ("stopped", 1)


async def test_a_stopped_webhook_whose_worker_died_is_not_sent_again(world: World) -> None:
    query_id = await answered(world.pool)
    await claim(world.pool)
    async with world.client(Scope.QUERY) as http:
        await http.post(f"/queries/{query_id}/stop")
        await world.pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")
        async with world.pool.transaction() as tx:
            assert await deliveries.expire_leases(tx, attempts=8) == (0, 0)
        query = await shown(http, query_id)

    assert query["state"] == "stopped"


async def test_what_a_process_knows_of_targets_is_told_and_ends_with_a_new_life(
    world: World,
) -> None:
    query_id = await answered(world.pool)
    await fail(world.pool, after_s=-1)
    pacer = Pacer(PaceLimits(workers=4, per_target=2))
    lease = await claim(world.pool)
    metrics = LaneMetrics(Metrics(CollectorRegistry()))
    reports = TargetReports(world.pool, "delivery-0", metrics)
    pacer.reserve(TARGET, lease.delivery_id, 0.0, lease.sender)
    reports.paced(pacer)
    reports.tried(TARGET, Tried(FAILED, Settled("due", datetime.now(UTC))))
    assert not await reports.write()
    known = await world.pool.fetchrow("SELECT * FROM target_health")
    again = TargetReports(world.pool, "delivery-0", metrics)
    assert not await again.write()
    forgotten = await world.pool.fetchrow("SELECT * FROM target_health")

    assert query_id is not None
    assert known is not None
    assert forgotten is not None
    assert (known["cap"], known["in_flight"], known["last_error"]) == (2, 1, "HTTP 503")
    assert (known["p99_ms"], known["last_ok_at"]) == (45, None)
    assert (forgotten["in_flight"], forgotten["last_error"]) == (0, "HTTP 503")
