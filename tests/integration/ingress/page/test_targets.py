"""`GET /targets`: all that is known of where webhooks go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from core.storage.delivery import target_health, targets
from core.storage.delivery.target_health import ReportedTarget
from core.storage.pool import Pool
from ingress.auth.api_keys import Scope
from tests.integration.ingress.page.test_attempts import answered, fail
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World


def named(host: str) -> str:
    return f"https://{host}.example:443"


async def report(pool: Pool, host: str, instance: str = "delivery-0", **known: Any) -> None:
    values: dict[str, Any] = {
        "cap": 4, "in_flight": 1, "failures": 0, "is_half_open": False, "opened_until": None,
        "paused_until": None, "rated_until": None, "last_ok_at": None, "last_error": None,
        "last_error_at": None, "p99_ms": 20,
    } | known  # fmt: skip
    await target_health.report(pool, instance, [ReportedTarget(target=named(host), **values)])


async def listed(http: httpx.AsyncClient, **wanted: str) -> dict[str, Any]:
    answer = await http.get("/targets", params=wanted)
    assert answer.status_code == 200, answer.text
    return {one["target"]: one for one in answer.json()["targets"]}


async def test_all_targets_are_listed_with_how_they_are(world: World) -> None:
    now = datetime.now(UTC)
    soon = now + timedelta(minutes=1)
    await answered(world.pool, host="waits.example")
    await report(world.pool, "broken", opened_until=soon, is_half_open=True)
    await report(world.pool, "half", opened_until=now - timedelta(minutes=1), is_half_open=True)
    await report(world.pool, "fine", last_ok_at=now, last_error="HTTP 500")
    await report(world.pool, "fine", "delivery-1", p99_ms=90)
    async with world.pool.transaction() as tx:
        await targets.disable(tx, named("held"), actor="root", reason="theirs")
    async with world.client(Scope.ADMIN) as http:
        found = await listed(http)
        broken = await listed(http, state="broken")
        named_so = await listed(http, q="al")

    assert {target: one["state"] for target, one in found.items()} == {
        named("broken"): "broken",
        named("fine"): "open",
        named("half"): "half_open",
        named("held"): "disabled",
        named("waits"): "open",
    }
    fine, waits = found[named("fine")], found[named("waits")]
    assert (fine["in_flight"], fine["cap"], fine["p99_ms"]) == (2, 8, 90)
    assert fine["last_error"] == "HTTP 500"
    assert fine["last_ok_at"] is not None
    assert waits["waiting"] == 1
    assert waits["oldest_waiting_s"] >= 0
    assert (waits["cap"], waits["actor"]) == (None, None)
    assert (found[named("held")]["actor"], found[named("held")]["reason"]) == ("root", "theirs")
    assert list(broken) == [named("broken")]
    assert list(named_so) == [named("half")]


async def test_a_breaker_that_one_process_has_closed_breaks_nothing(world: World) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await report(world.pool, "a", opened_until=soon, is_half_open=True)
    await report(world.pool, "a", "delivery-1")
    async with world.client(Scope.ADMIN) as http:
        assert (await listed(http))[named("a")]["state"] == "open"


async def test_targets_come_page_by_page(world: World) -> None:
    for host in "abcde":
        await report(world.pool, host)
    async with world.client(Scope.ADMIN) as http:
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = (await http.get("/targets", params={"limit": "2"} | more)).json()
            seen += [one["target"] for one in page["targets"]]
            cursor = page["next"]
        for wrong in ({"state": "x"}, {"q": ""}, {"cursor": "*"}, {"all": "1"}):
            problem_in(await http.get("/targets", params=wrong), "invalid_request")

    assert seen == [named(host) for host in "abcde"]


async def test_what_was_long_ago_is_waited_for_no_more(world: World) -> None:
    await answered(world.pool)
    await fail(world.pool)
    async with world.client(Scope.ADMIN) as http:
        [retried] = (await listed(http)).values()

    assert (retried["waiting"], retried["oldest_waiting_s"]) == (1, None), "it is not due yet"
