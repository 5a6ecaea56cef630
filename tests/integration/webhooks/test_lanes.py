"""The real lanes (PostgreSQL, courier, guarded client) against receivers that misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook

from consumers.delivery.adapters import StoredLanes, schedule
from consumers.delivery.attempts import Tried
from consumers.delivery.budget import Budget, Reserve
from consumers.delivery.courier import OutgoingPicture, WebhookCourier
from consumers.delivery.lanes import LaneLimits, Lanes
from consumers.delivery.pacing import Pacer
from consumers.delivery.target_pace import PaceLimits
from consumers.upkeep.operator_notices import OperatorNotices
from core.egress.addresses import parse_networks
from core.egress.client import GuardedClient
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import PermanentError
from core.settings import DatabaseSettings
from core.storage.delivery import endpoints, listing, targets
from core.storage.pool import Pool, open_pool
from core.webhooks.schedule import RetrySchedule
from core.webhooks.sender import WebhookSender
from core.webhooks.signing_secrets import make_secret
from schemas.callback import AnswerType, CallbackRequested, callback_id_of
from tests.fakes.receiver import HostileReceiver
from tests.fakes.resolver import ScriptedResolver

SECRET = make_secret()
TIMEOUT_S = 2.0
METADATA = "http://169.254.169.254/latest/meta-data/"

Ended = tuple[str, int | None, str | None, int]
DELIVERED: Ended = ("delivered", 200, None, 1)
#: path -> state, last status, last error, attempts (of two)
EXPECTED: dict[str, Ended] = {
    "/ok": DELIVERED,
    "/status/204": ("delivered", 204, None, 1),
    "/status/205": ("delivered", 205, None, 1),
    "/continue": DELIVERED,
    "/huge": DELIVERED,
    "/gzip": DELIVERED,
    "/drip-body": DELIVERED,
    "/rst-body": DELIVERED,
    "/early-fin": DELIVERED,
    "/bad-chunks": DELIVERED,
    "/bad-chunk-at-once": DELIVERED,
    "/bad-length": DELIVERED,
    "/long-header": DELIVERED,
    "/header-flood": DELIVERED,
    "/drip-headers": DELIVERED,
    "/latin-1-reason": DELIVERED,
    "/204-body": ("delivered", 204, None, 1),
    "/500-broken": ("dead", 500, None, 2),
    "/flaky/1": ("delivered", 200, None, 2),
    "/lost-once/x": ("delivered", 200, None, 2),
    "/silent": ("dead", None, "timeout", 2),
    "/rst": ("dead", None, "reset", 2),
    "/lost": ("dead", None, "reset", 2),
    "/garbage": ("dead", None, "protocol", 2),
    "/http09": ("dead", None, "protocol", 2),
    f"/redirect?{METADATA}": ("dead", 302, None, 2),
    "/redirect?/redirect": ("dead", 302, None, 2),
    "/status/500": ("dead", 500, None, 2),
    "/status/404": ("dead", 404, None, 2),
    "/retry-after/-5": ("dead", 429, None, 2),
    "/retry-after/99999999999999": ("dead", 429, None, 2),
    "/retry-after/Thu%2C%2001%20Jan%201970%2000%3A00%3A00%20GMT": ("dead", 429, None, 2),
    "/retry-after/soon": ("dead", 429, None, 2),
    "/gone": ("dead", 410, None, 1),
    "/abort": ("dead", 500, None, 1),
}


class NoPictures:
    """A double for answers without pictures."""

    async def outgoing(
        self, image_id: UUID, *, inline: bool, reserve: Reserve
    ) -> OutgoingPicture | PermanentError:
        raise AssertionError(image_id)


class OneSecret:
    """A double with one secret for all owners."""

    async def of(self, owner: str | None, url: str) -> Sequence[str]:
        return (SECRET,)


class NoWatch:
    """A watch that does nothing."""

    def tried(self, target: str, tried: Tried) -> None: ...

    def paced(self, pacer: Pacer) -> None: ...

    def waiting(self, due: int, oldest_s: float) -> None: ...


@pytest.fixture(name="pool")
async def _pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=database_url)) as opened:
        yield opened


@asynccontextmanager
async def open_lanes(
    pool: Pool, names: Sequence[str], pace: PaceLimits | None = None
) -> AsyncIterator[Lanes]:
    policy = TargetPolicy(
        schemes=frozenset({"http"}),
        ports=(range(1, 65536),),
        allowed_networks=parse_networks(["127.0.0.1"]),
    )
    resolver = ScriptedResolver({name: [("127.0.0.1",)] for name in names})
    async with GuardedClient(TargetGuard(policy, resolver)) as client:
        courier = WebhookCourier(
            pictures=NoPictures(),
            secrets=OneSecret().of,
            sender=WebhookSender(client, timeout_s=TIMEOUT_S),
            schedule=RetrySchedule((0.0, 0.05), 0.0),
            link=str,
            budget=Budget(10**8),
            chance=Random(1),
        )
        limits = LaneLimits(
            pace or PaceLimits(workers=32, per_target=8, slow_s=0.3),
            interval_s=0.05,
            drain_s=0.1,
            record_s=5,
        )
        yield Lanes(pool, StoredLanes(30.0, (0.0, 0.05)), courier, limits, NoWatch())


async def put(pool: Pool, url: str, host: str, owner: str | None = None) -> UUID:
    event = CallbackRequested(
        query_id=uuid4(),
        type=AnswerType.NO_MATCH,
        url=url,
        text="cats",
        answered_at=datetime.now(UTC),
        owner=owner,
    )
    async with pool.transaction() as tx:
        await schedule(tx, {callback_id_of(event.query_id): event})
    return event.query_id


async def run_until_ended(pool: Pool, lanes: Lanes, ids: Sequence[UUID]) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(lanes.run(stop))
    async with asyncio.timeout(30):
        while await pool.fetchval(
            "SELECT count(*) FROM deliveries WHERE query_id = ANY($1::uuid[]) "
            "AND state IN ('due', 'leased')",
            list(ids),
        ):
            await asyncio.sleep(0.02)
    stop.set()
    await running


async def ended(pool: Pool, query_id: UUID) -> Ended:
    (one,) = await listing.of_query(pool, query_id)
    last = one.attempts[-1]
    return (one.state, last["status"], last["error"], one.attempt)


async def test_every_bad_habit_ends_as_it_should_and_harms_no_other(pool: Pool) -> None:
    names = {path: f"h{number}.example" for number, path in enumerate(EXPECTED)}
    async with (
        HostileReceiver(drip_interval_s=0.05) as receiver,
        open_lanes(pool, [*names.values(), "healthy.example"]) as lanes,
    ):
        queries = {
            path: await put(pool, receiver.url(path, host=host), host)
            for path, host in names.items()
        }
        url = receiver.url("/ok", host="healthy.example")
        healthy = [await put(pool, url, "healthy.example") for _ in range(20)]
        await run_until_ended(pool, lanes, [*queries.values(), *healthy])

        found = {path: await ended(pool, query_id) for path, query_id in queries.items()}
        assert found == EXPECTED
        assert [await ended(pool, query_id) for query_id in healthy] == [DELIVERED] * 20
        for path, (_, _, _, attempts) in EXPECTED.items():
            host = f"{names[path]}:{receiver.port}"
            requests = [r for r in receiver.requests if r.headers["host"] == host]
            assert len(requests) == attempts, path
            assert len({request.headers["webhook-id"] for request in requests}) == 1
            for request in requests:
                Webhook(SECRET).verify(request.body, dict(request.headers))
                assert json.loads(request.body)["type"] == "query.no_match"
        assert receiver.received("/redirect") == []
        assert receiver.sent_bytes < 64 * 2**20  # of 10 GB and headers without end


async def test_each_post_that_a_receiver_reads_is_an_attempt_also_on_a_kept_connection(
    pool: Pool,
) -> None:
    async with HostileReceiver() as receiver, open_lanes(pool, ["a.example"]) as lanes:
        kept = await put(pool, receiver.url("/stale", host="a.example"), "a.example")
        await run_until_ended(pool, lanes, [kept])
        query_id = await put(pool, receiver.url("/ok", host="a.example"), "a.example")
        await run_until_ended(pool, lanes, [query_id])

    (webhook,) = await listing.of_query(pool, query_id)
    tried = [(one["status"], one["error"], one["detail"]) for one in webhook.attempts]
    assert [one[:2] for one in tried] == [(None, "reset"), (200, None)]
    assert str(tried[0][2]).startswith("a connection kept from an earlier request was closed")
    assert len(receiver.received("/ok")) == 2
    assert len({one.headers["webhook-id"] for one in receiver.received("/ok")}) == 1


async def test_a_closed_port_and_a_forbidden_address_are_told_apart(pool: Pool) -> None:
    async with open_lanes(pool, ["closed.example"]) as lanes:
        closed = await put(pool, "http://closed.example:9/", "closed.example")
        forbidden = await put(pool, METADATA, "169.254.169.254")
        await run_until_ended(pool, lanes, [closed, forbidden])

    assert await ended(pool, closed) == ("dead", None, "refused", 2)
    assert await ended(pool, forbidden) == ("dead", None, "target_forbidden", 1)


async def test_rows_that_no_attempt_gets_through_end_and_the_others_are_delivered(
    pool: Pool,
) -> None:
    """A name that no library decodes, and an event of an unknown version."""
    async with HostileReceiver() as receiver, open_lanes(pool, ["a.example"]) as lanes:
        url = receiver.url("/ok", host="a.example")
        undecodable = await put(pool, "http://xn--a.example/hook", "xn--a.example")
        unreadable = await put(pool, url, "a.example")
        await pool.execute("UPDATE deliveries SET event = '{}' WHERE query_id = $1", unreadable)
        healthy = await put(pool, url, "a.example")
        await run_until_ended(pool, lanes, [undecodable, unreadable, healthy])

    assert await ended(pool, healthy) == DELIVERED
    assert await ended(pool, undecodable) == ("dead", None, "target_forbidden", 1)
    assert await ended(pool, unreadable) == ("dead", None, "internal_error", 2)


async def test_what_happens_to_the_archive_itself_goes_out_signed_and_is_tried_again(
    pool: Pool,
) -> None:
    async with (
        HostileReceiver() as receiver,
        open_lanes(pool, ["ops.example"]) as lanes,
    ):
        async with pool.transaction() as tx:
            url = receiver.url("/flaky/1", host="ops.example")
            await endpoints.add(tx, owner="ann", url=url, name="", operator_events=True)
            await targets.disable(tx, "https://shop.example:443", actor="breaker", reason="away")
        await OperatorNotices(pool).step()
        (row,) = await pool.fetch("SELECT delivery_id FROM deliveries")
        await run_until_ended(pool, lanes, [row["delivery_id"]])

    first, second = receiver.requests
    assert await ended(pool, row["delivery_id"]) == ("delivered", 200, None, 2)
    assert first.body == second.body
    for request in (first, second):
        assert request.headers["webhook-id"] == str(row["delivery_id"])
        Webhook(SECRET).verify(request.body, dict(request.headers))
    body = json.loads(first.body)
    assert body["type"] == "target.disabled"
    assert body["data"] == {
        "target": "https://shop.example:443",
        "actor": "breaker",
        "reason": "away",
    }
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None


async def test_a_disabled_target_is_not_asked_and_goes_on_when_resumed(pool: Pool) -> None:
    async with (
        HostileReceiver() as receiver,
        open_lanes(pool, ["held.example", "open.example"]) as lanes,
    ):
        held_target = f"http://held.example:{receiver.port}"
        async with pool.transaction() as tx:
            await targets.disable(tx, held_target, actor="operator")
        held = await put(pool, receiver.url("/ok", host="held.example"), "held.example")
        free = await put(pool, receiver.url("/ok", host="open.example"), "open.example")
        await run_until_ended(pool, lanes, [free])
        before = len(receiver.requests)

        async with pool.transaction() as tx:
            await targets.resume(tx, held_target, actor="operator")
        async with open_lanes(pool, ["held.example"]) as again:
            await run_until_ended(pool, again, [held])

    assert before == 1
    assert await ended(pool, held) == DELIVERED


async def test_dead_addresses_of_one_owner_do_not_hold_up_another_at_the_same_target(
    pool: Pool,
) -> None:
    """Twenty that never answer would take the two connections of a new target for 20 s."""
    async with HostileReceiver() as receiver, open_lanes(pool, ["shared.example"]) as lanes:
        dead = [
            await put(pool, receiver.url(f"/silent?{n}", host="shared.example"), "", "dead")
            for n in range(20)
        ]
        stop = asyncio.Event()
        running = asyncio.create_task(lanes.run(stop))
        async with asyncio.timeout(30):
            while not receiver.requests:
                await asyncio.sleep(0.01)
        url = receiver.url("/ok", host="shared.example")
        healthy = [await put(pool, url, "", "ann") for _ in range(10)]
        async with asyncio.timeout(30):
            while len(receiver.received("/ok")) < 10:
                await asyncio.sleep(0.01)
        answered = await pool.fetchval(
            "SELECT count(*) FROM attempts JOIN deliveries USING (delivery_id) "
            "WHERE query_id = ANY($1::uuid[])",
            dead,
        )
        stop.set()
        await running

    assert answered < 8, "the healthy ones waited for time-outs of the dead ones"
    assert [await ended(pool, query_id) for query_id in healthy] == [DELIVERED] * 10


async def test_a_rate_holds_over_a_burst(pool: Pool) -> None:
    pace = PaceLimits(workers=32, per_target=8, rate_per_s=10)
    async with HostileReceiver() as receiver, open_lanes(pool, ["a.example"], pace) as lanes:
        url = receiver.url("/ok", host="a.example")
        ids = [await put(pool, url, "a.example") for _ in range(18)]
        await run_until_ended(pool, lanes, ids)

        times = sorted(request.at_s for request in receiver.requests)

    assert len(times) == 18
    for first, tenth_later in zip(times, times[12:], strict=False):
        assert tenth_later - first > 0.15  # ten at once and ten a second: twelve take 0.2 s
