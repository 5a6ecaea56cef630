"""`GET /dead-letters` and their replay, on real PostgreSQL and Kafka."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from core.errors import BrokerAway
from core.messaging.outbox import OutboxPublisher
from core.messaging.ports import Sent
from core.offsets import DeadLetter, Place
from core.storage.pool import Pool
from core.storage.stream import dead_letters, letter_pages, outbox
from core.storage.stream.letter_pages import DeadLetterFilter
from ingress import commands
from ingress.app import create_app
from ingress.auth.api_keys import Scope
from ingress.main import Opened
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Record

ARRIVED, SUBMITTED = "images.arrived.v1", "queries.submitted.v1"
BULK = "images.bulk.v1"  # where arrivals go back
HEADERS = (("ce_id", b"e1"), ("x", b"\xff" * 300))


async def client_of(opened: Opened) -> httpx.AsyncClient:
    made = await commands.create(
        commands.KeyRequest("root", scopes=(Scope.ADMIN,)), if_absent=False
    )
    assert made is not None
    transport = httpx.ASGITransport(create_app(opened.deps))
    return httpx.AsyncClient(
        transport=transport, base_url="http://archive", headers={"X-API-Key": made.key}
    )


@pytest.fixture
async def admin(opened: Opened) -> AsyncIterator[httpx.AsyncClient]:
    async with await client_of(opened) as http:
        yield http


async def set_aside(
    pool: Pool,
    count: int,
    reason: str,
    *,
    topic: str = ARRIVED,
    group: str = "tagging",
    at: int = 0,
) -> None:
    async with pool.transaction() as tx:
        await dead_letters.add(
            tx,
            [
                DeadLetter(
                    DeadLetterPlace(group, topic, 3, at + number, reason, f"why {number}"),
                    "cluster",
                    Record(topic, b"key %d" % number, HEADERS, b"\x00" * number),
                    1_700_000_000_000,
                )
                for number in range(count)
            ],
        )


async def listed(admin: httpx.AsyncClient, **parameters: str) -> dict[str, Any]:
    answer = await admin.get("/dead-letters", params=parameters)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def offsets(shown: dict[str, Any]) -> list[int]:
    return [letter["offset"] for letter in shown["letters"]]


async def put_back(admin: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await admin.post("/dead-letters/replay", json=body)


async def left(pool: Pool) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL")
    return count


async def test_a_letter_is_shown_with_its_place_and_its_reason_and_without_its_value(
    admin: httpx.AsyncClient, pool: Pool
) -> None:
    await set_aside(pool, 3, "image_unreadable")

    shown = await listed(admin, limit="1")

    [letter] = shown["letters"]
    assert (letter["topic"], letter["group"], letter["partition"], letter["offset"]) == (
        ARRIVED, "tagging", 3, 2,
    )  # fmt: skip
    assert (letter["reason"], letter["detail"]) == ("image_unreadable", "why 2")
    assert (letter["key"], letter["size_bytes"]) == ("key 2", 2)
    assert letter["headers"] == {"ce_id": "e1", "x": "\ufffd" * 200}
    assert letter["recorded_at"] == "2023-11-14T22:13:20Z"
    assert "value" not in letter


async def test_letters_are_listed_newest_first_and_counted_by_reason(
    admin: httpx.AsyncClient, pool: Pool
) -> None:
    await set_aside(pool, 5, "image_unreadable")
    await set_aside(pool, 2, "process_crashed", topic=SUBMITTED, group="query", at=100)

    first = await listed(admin, limit="3")
    await set_aside(pool, 1, "image_missing", at=500)  # comes meanwhile
    second = await listed(admin, limit="3", cursor=str(first["next"]))
    third = await listed(admin, limit="3", cursor=str(second["next"]))

    assert [offsets(page) for page in (first, second, third)] == [[101, 100, 4], [3, 2, 1], [0]]
    assert third["next"] is None
    found = [tuple(one.values())[:4] for one in first["groups"]]
    assert found == [
        ("tagging", ARRIVED, "image_unreadable", 5),
        ("query", SUBMITTED, "process_crashed", 2),
    ]
    assert offsets(await listed(admin, topic=SUBMITTED)) == [101, 100]
    assert offsets(await listed(admin, group="query")) == [101, 100]
    assert offsets(await listed(admin, group="tagging", reason="image_missing")) == [500]


async def test_letters_are_for_administrators_alone(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/dead-letters"), await put_back(client, topic=ARRIVED)):
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"cursor": "eA"}, "cursor"),
        ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk"}, "cursor"),  # beyond int8
        ({"reason": ""}, "reason"),
        ({"topic": "x\x00"}, "topic"),
        ({"state": "open"}, "state"),
        ({"limit": "0"}, "limit"),
    ],
)
async def test_a_parameter_that_breaks_its_rule_is_named(
    admin: httpx.AsyncClient, parameters: dict[str, str], name: str
) -> None:
    answer = await admin.get("/dead-letters", params=parameters)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [one["pointer"] for one in answer.json()["errors"]] == [name]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"topic": "nothing.v1"}, "/topic"),
        ({"topic": f"{ARRIVED}.tagging.dlq", "group": "query"}, "/group"),
        ({"topic": ARRIVED, "reason": "unreadable_record"}, "/reason"),
        ({"topic": ARRIVED, "limit": 1001}, "/limit"),
        ({}, "/topic"),
    ],
)
async def test_what_cannot_be_chosen_is_named_and_nothing_goes_back(
    admin: httpx.AsyncClient, pool: Pool, body: dict[str, Any], pointer: str
) -> None:
    await set_aside(pool, 1, "image_unreadable")

    answer = await put_back(admin, **body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    assert await left(pool) == 1


async def test_letters_go_back_as_they_were_the_oldest_first_up_to_the_limit(
    kafka: str, admin: httpx.AsyncClient, opened: Opened, pool: Pool
) -> None:
    await set_aside(pool, 45, "image_unreadable")
    await set_aside(pool, 2, "image_missing", at=100)
    await set_aside(pool, 1, "unreadable_record", at=200)
    wanted: dict[str, Any] = {"topic": f"{ARRIVED}.tagging.dlq", "reason": "image_unreadable"}

    counted = await put_back(admin, **wanted, dry_run=True)
    unreadable = await put_back(admin, topic=ARRIVED, dry_run=True)
    done = await put_back(admin, **wanted, limit=42)

    assert counted.json() == {
        "matched": {"image_unreadable": 45}, "replayed": {}, "refused": {}, "unreadable": 0,
    }  # fmt: skip
    assert unreadable.json()["unreadable"] == 1
    assert done.status_code == 200, done.text
    assert done.json()["replayed"] == {"image_unreadable": 42}
    rows = await pool.fetch(
        "SELECT log_offset FROM dead_letters WHERE replayed_at IS NULL ORDER BY id"
    )
    assert [row["log_offset"] for row in rows] == [42, 43, 44, 100, 101, 200]
    rest = await put_back(admin, topic=ARRIVED)
    assert rest.json() == {
        "matched": None,  # counted by a dry run alone
        "replayed": {"image_unreadable": 3, "image_missing": 2},
        "refused": {},
        "unreadable": None,
    }
    assert (await put_back(admin, topic=ARRIVED)).json()["replayed"] == {}


async def test_while_kafka_is_away_nothing_is_marked_and_the_answer_says_so(
    admin: httpx.AsyncClient, pool: Pool, opened: Opened
) -> None:
    await set_aside(pool, 3, "image_unreadable")

    answer = await put_back(admin, topic=ARRIVED)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    assert await left(pool) == 3


class HalfAway:
    """A broker that takes so many records and is away then."""

    def __init__(self, room: int) -> None:
        self.taken: list[Record] = []
        self.room = room

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        fitting = records[: self.room - len(self.taken)]
        self.taken += fitting
        places: list[Sent] = [Place(record.topic, 0, 0) for record in fitting]
        return places + [BrokerAway("away")] * (len(records) - len(fitting))


async def test_a_broker_that_goes_away_in_the_middle_leaves_the_rest_for_the_next_time(
    opened: Opened, pool: Pool
) -> None:
    await set_aside(pool, 60, "image_unreadable")
    broker = HalfAway(25)
    departures = replace(opened.deps.departures, outbox=OutboxPublisher(pool, outbox, broker))
    deps = replace(opened.deps, departures=departures)

    async with await client_of(replace(opened, deps=deps)) as admin:
        answer = await put_back(admin, topic=ARRIVED)

    assert answer.status_code == 200, answer.text
    assert answer.json()["replayed"] == {"image_unreadable": 25}
    assert answer.json()["refused"] == {"broker_away": 15}
    assert [record.key for record in broker.taken] == [b"key %d" % n for n in range(25)]
    seventh = broker.taken[7]
    assert (seventh.topic, seventh.key, seventh.value) == (BULK, b"key 7", b"\x00" * 7)
    assert seventh.headers[: len(HEADERS)] == HEADERS
    assert await left(pool) == 35


async def plan_of(pool: Pool, wanted: DeadLetterFilter) -> str:
    """How a page is read among 20,000 letters of a hundred topics and reasons."""
    await pool.execute(
        "INSERT INTO dead_letters (grp, topic, part, log_offset, headers, value, reason,"
        " replayed_at) SELECT CASE n % 100 WHEN 9 THEN 'query' ELSE 'g' END,"
        " CASE n % 100 WHEN 9 THEN 'queries.submitted.v1' ELSE 't' || n % 100 END,"
        " 0, n, '[]', '', 'r' || n % 100,"
        "        CASE WHEN n % 10 = 0 THEN now() END FROM generate_series(1, 20000) n"
    )
    await pool.execute("ANALYZE dead_letters")
    query, arguments = letter_pages.statement(wanted, 51)
    return "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {query}", *arguments))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (DeadLetterFilter(), "dead_letters_newest"),
        (DeadLetterFilter(before=9_000), "dead_letters_newest"),
        (DeadLetterFilter(topic="t7"), "dead_letters_open"),
        (DeadLetterFilter(reason="r1"), "dead_letters_of_reason"),
    ],
)
async def test_a_page_is_read_by_an_index_in_its_order(
    pool: Pool, wanted: DeadLetterFilter, index: str
) -> None:
    plan = await plan_of(pool, wanted)

    assert f"using {index}" in plan, json.dumps(plan)
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


async def test_a_group_that_has_few_letters_is_not_looked_for_among_all(pool: Pool) -> None:
    plan = await plan_of(pool, DeadLetterFilter(group="query"))

    [searched] = [line for line in plan.splitlines() if "Index Cond" in line]
    assert f"(topic = '{SUBMITTED}'::text)" in searched
    assert "Seq Scan" not in plan
