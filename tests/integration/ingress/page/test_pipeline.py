"""`GET /stats/pipeline`, and the roles in `/health`."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.storage.archive import images
from core.storage.delivery import deliveries
from core.storage.stream import heartbeats, outbox
from core.tags import Slowness
from ingress.auth.api_keys import Scope
from ingress.main import Opened
from schemas.callback import CallbackRequested
from schemas.record import Partition, Record
from schemas.topics import IMAGES_ARRIVED
from tests.fakes.pictures import jpeg
from tests.integration.ingress.page.beating import all_roles_beat, beat_of, fall_silent
from tests.integration.ingress.world import NOW, MakeWorld, SharedDatabase, World, opened_pool


async def test_an_idle_archive_has_nothing_waiting(world: World) -> None:
    await all_roles_beat(world.pool)

    async with world.client(Scope.READ) as http:
        document = (await http.get("/stats/pipeline")).json()

    assert [stage["name"] for stage in document["stages"]] == [
        "tagging", "tagging_bulk", "queries", "deliveries", "outbox", "parked_images", "label_work"
    ]  # fmt: skip
    tagging = document["stages"][0]
    assert (tagging["state"], tagging["waiting"], tagging["is_growing"]) == ("idle", 0, False)
    assert len(tagging["trend"]) == 60
    assert {one["role"]: one["state"] for one in document["processes"]}["tagging"] == "idle"


async def test_what_lies_in_the_log_of_a_stopped_consumer_waits_and_grows(world: World) -> None:
    await all_roles_beat(world.pool)
    await heartbeats.stop(world.pool, "", [beat_of("tagging")])
    world.bounds = {Partition(IMAGES_ARRIVED.name, 0): (0, 0)}
    async with world.client(Scope.READ) as http:
        await http.get("/stats/pipeline")
        world.bounds = {Partition(IMAGES_ARRIVED.name, 0): (0, 5)}
        for _ in range(3):
            world.seconds += 5
            document = (await http.get("/stats/pipeline")).json()

    tagging = document["stages"][0]
    assert (tagging["waiting"], tagging["oldest_waiting_s"]) == (5, 10.0)
    assert (tagging["is_growing"], tagging["state"]) == (True, "stopped")


async def test_the_trend_outlives_the_process_that_measured_it(make_world: MakeWorld) -> None:
    before, after = make_world(), make_world()
    await all_roles_beat(before.pool)
    place = Partition(IMAGES_ARRIVED.name, 0)
    before.bounds = {place: (0, 5)}
    await before.deps.pipeline.note()
    before.seconds += 30
    await before.deps.pipeline.note()

    async with after.client(Scope.READ) as http:
        (tagging, *_) = (await http.get("/stats/pipeline")).json()["stages"]

    assert max(wait for wait in tagging["trend"] if wait is not None) == 30.0
    assert tagging["trend"][0] is None
    assert await before.count("stage_trends") <= 14


async def test_alarms_read_what_health_says_and_when_somebody_last_looked(world: World) -> None:
    await all_roles_beat(world.pool)
    await fall_silent(world.pool, "delivery", timedelta(minutes=5))
    async with world.pool.transaction() as tx:
        await outbox.add(tx, [Record("t", None, (), b"{}")])
    await world.pool.execute("UPDATE outbox SET created_at = created_at - interval '90 seconds'")

    await world.deps.pipeline.note()
    async with world.client(Scope.READ) as http:
        text = (await http.get("/metrics")).text

    shown = {
        (sample.name.removeprefix("photo_archive_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert shown["role_status", "delivery", "silent"] == 1
    assert shown["role_status", "delivery", "ok"] == 0
    assert shown["role_status", "query", "idle"] == 1
    assert shown["stage_oldest_seconds", "outbox"] >= 90
    assert shown["stage_waiting", "outbox"] == 1
    seen_at = await world.pool.fetchval("SELECT extract(epoch FROM now())::float8")
    assert 0 <= seen_at - shown["pipeline_seen_timestamp_seconds",] < 60


async def test_a_flood_of_questions_is_one_look_a_second(world: World) -> None:
    await all_roles_beat(world.pool)
    looks = 0

    async def bounds(topics: Sequence[str]) -> dict[Partition, tuple[int, int]]:
        nonlocal looks
        looks += 1
        return {}

    world.deps.pipeline.ask = bounds
    async with world.client(Scope.READ) as http:
        await asyncio.gather(*(http.get("/stats/pipeline") for _ in range(20)))
        await asyncio.gather(*(http.get("/health") for _ in range(20)))
        assert looks == 1
        world.seconds += 1.5
        await http.get("/stats/pipeline")

    assert looks == 2


async def test_due_webhooks_parked_images_and_the_outbox_are_counted(world: World) -> None:
    await all_roles_beat(world.pool)
    image_id = uuid4()
    async with world.pool.transaction() as tx:
        await images.accept(tx, image_id=image_id, uri="blob:1", path="a.jpg")
        await outbox.add(tx, [Record("t", None, (), b"{}")])
        for owner in ("alice", "bob", "bob"):
            event = CallbackRequested(
                query_id=uuid4(),
                url="http://h/",
                type="query.no_match",
                text="x",
                owner=owner,
                answered_at=NOW,
            )
            await deliveries.schedule(tx, [(uuid4(), "http://h:80", event)])
    await world.park(image_id, Slowness.PICTURE)

    async with world.client(Scope.READ) as http:
        document = (await http.get("/stats/pipeline")).json()
    async with world.client(Scope.ADMIN) as http:
        world.seconds += 2
        of_all = (await http.get("/stats/pipeline")).json()

    waiting = {stage["name"]: stage["waiting"] for stage in document["stages"]}
    assert (waiting["deliveries"], waiting["outbox"], waiting["parked_images"]) == (3, 1, 1)
    assert [(one["target"], one["waiting"]) for one in document["targets"]] == [("http://h:80", 1)]
    assert [(one["target"], one["waiting"]) for one in of_all["targets"]] == [("http://h:80", 3)]


async def test_jobs_and_dead_letters_are_shown(world: World) -> None:
    await all_roles_beat(world.pool)
    async with world.client(Scope.READ, Scope.PATHS) as http:
        await http.post("/tag/directory", json={"directory_path": "photos"})
    await world.pool.execute(
        """INSERT INTO dead_letters (grp, topic, part, log_offset, headers, value, reason)
           SELECT 'query', 't', 0, n, '[]', '', 'not_json' FROM generate_series(1, 3) n"""
    )
    async with world.client(Scope.READ) as http:
        document = (await http.get("/stats/pipeline")).json()
    async with world.client(Scope.READ, owner="bob") as http:
        of_bob = (await http.get("/stats/pipeline")).json()

    assert [job["state"] for job in document["jobs"]] == ["waiting"]
    assert of_bob["jobs"] == []
    assert [(one["reason"], one["letters"]) for one in document["dead_letters"]] == [
        ("not_json", 3)
    ]


async def health(world: World) -> tuple[int, dict[str, Any]]:
    world.seconds += 2
    async with world.client() as http:
        answer = await http.get("/health")
    return answer.status_code, answer.json()


@pytest.mark.parametrize("role", ["tagging", "query", "delivery"])
async def test_health_names_a_role_that_is_dead(world: World, role: str) -> None:
    await all_roles_beat(world.pool)
    assert (await health(world))[1]["status"] == "ok"
    await fall_silent(world.pool, role, timedelta(minutes=1))

    status, document = await health(world)

    assert (status, document["status"]) == (200, "degraded")
    assert document["roles"][role]["status"] == "silent"
    assert document["roles"][role]["since"] is not None
    assert {one["status"] for name, one in document["roles"].items() if name != role} == {"idle"}


@pytest.mark.parametrize(
    ("model", "unknown"),
    [("demo@0123", ["unseen"]), ("ViT-B-32@0123", [])],
)
async def test_health_names_the_labels_that_the_bundled_model_cannot_know(
    world: World, model: str, unknown: list[str]
) -> None:
    about = {"model": model, "lane": "fresh"}
    await heartbeats.beat(world.pool, "", [beat_of("tagging", about=about)])

    _, document = await health(world)

    assert document["unknown_labels"] == unknown


async def test_health_names_a_role_that_never_was_there(world: World) -> None:
    status, document = await health(world)

    assert (status, document["status"]) == (200, "degraded")
    assert set(document["roles"]) == {"tagging", "tagging_bulk", "query", "delivery"}


async def test_health_names_a_process_that_is_alive_and_does_not_move(world: World) -> None:
    await all_roles_beat(world.pool, beat_of("delivery", waiting=9, still_s=50.0))

    _, document = await health(world)

    assert document["status"] == "degraded"
    assert document["roles"]["delivery"]["status"] == "not_moving"


async def test_health_names_a_halted_partition(world: World) -> None:
    halt = {
        "topic": "images.arrived.v1", "partition": 7, "reason": "below_log_start",
        "since": "2026-05-01T12:00:00Z",
    }  # fmt: skip
    await all_roles_beat(world.pool, beat_of("tagging", about={"halted": [halt]}))

    status, document = await health(world)

    assert (status, document["status"]) == (200, "degraded")
    assert document["roles"]["tagging"]["status"] == "halted"
    assert "images.arrived.v1/7" in document["roles"]["tagging"]["detail"]


async def test_a_broker_of_several_that_is_away_is_told_and_nothing_is_refused(
    world: World,
) -> None:
    await all_roles_beat(world.pool)
    world.missing_brokers = (2,)

    status, document = await health(world)

    assert (status, document["status"]) == (200, "degraded")
    told = {"status": "reduced", "detail": "brokers: 2 of 3, away: 2"}
    assert document["checks"]["broker"] == told


async def test_with_a_read_only_database_nothing_can_be_accepted(
    shared_database: SharedDatabase, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    url = f"{shared_database.url}?options=-cdefault_transaction_read_only%3Don"
    async with opened_pool(url) as pool:
        world = MakeWorld(pool, tmp_path / "photos")()
        status, document = await health(world)
        async with world.client() as http:
            ready = await http.get("/readyz")

    assert (status, document["status"]) == (503, "unavailable")
    assert document["checks"]["database"]["status"] == "read_only"
    assert (ready.status_code, ready.text) == (503, "database read-only\n")


async def test_what_nobody_reads_is_seen_in_kafka_itself(
    kafka: str, opened: Opened, client: httpx.AsyncClient
) -> None:
    upload = {"file": ("a.jpg", jpeg(1), "image/jpeg")}
    assert (await client.post("/images/upload", files=upload)).status_code == 202

    async with asyncio.timeout(120):
        while True:
            document = (await client.get("/stats/pipeline")).json()
            if document["stages"][0]["waiting"] == 1 and document["stages"][0]["is_growing"]:
                break
            await asyncio.sleep(0.2)

    assert document["stages"][0]["state"] == "stopped"
    assert document["stages"][0]["oldest_waiting_s"] >= 2
