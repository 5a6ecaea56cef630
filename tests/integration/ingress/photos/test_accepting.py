"""What is accepted, on real PostgreSQL and Kafka."""

import asyncio
import hashlib
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from core.messaging.outbox import Sweeper
from core.settings import OutboxSettings
from core.storage.stream import outbox
from ingress.main import Opened
from schemas.image import ImageArrived
from schemas.query import QuerySubmitted
from schemas.token import decode_token
from tests.fakes.pictures import jpeg
from tests.fakes.publisher import MemoryPublisher
from tests.servers import kafka_login

ASKED = {"text": "cats", "callback_url": "https://93.184.215.14/hook"}


async def upload(client: httpx.AsyncClient, *contents: bytes) -> Any:
    files = [("file", (f"{n}.jpg", content, "image/jpeg")) for n, content in enumerate(contents)]
    response = await client.post("/images/upload", files=files)
    assert response.status_code == 202, response.text
    return response.json()["images"]


async def rows(database_url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def record_at(kafka: str, topic: str, partition: int, offset: int) -> Any:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, **kafka_login(), enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        async with asyncio.timeout(20):
            return await consumer.getone()
    finally:
        await consumer.stop()


async def all_values(kafka: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        **kafka_login(),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        found: list[bytes] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                found.append((await consumer.getone()).value)
        late = await consumer.getmany(timeout_ms=300)
        return found + [record.value for batch in late.values() for record in batch]
    finally:
        await consumer.stop()


async def test_the_token_of_an_upload_leads_to_its_event(
    kafka: str, client: httpx.AsyncClient, database_url: str, topics_prefix: str
) -> None:
    picture = jpeg(1)

    (entry,) = await upload(client, picture)

    token = decode_token(entry["token"])
    assert token.topic is not None
    assert token.partition is not None
    assert token.offset is not None
    record = await record_at(kafka, topics_prefix + token.topic, token.partition, token.offset)
    event = ImageArrived.model_validate_json(record.value)
    assert event.sha256 == hashlib.sha256(picture).hexdigest()
    assert record.key == entry["image_id"].encode()
    assert dict(record.headers)["ce_type"] == b"photoarchive.image.arrived.v1"
    (blob,) = await rows(database_url, "SELECT content FROM blobs")
    assert blob["content"] == picture
    assert await rows(database_url, "SELECT FROM outbox") == []


async def test_the_bytes_come_back_as_they_were(client: httpx.AsyncClient) -> None:
    picture = jpeg(2)
    (entry,) = await upload(client, picture)

    status = (await client.get(f"/images/{entry['image_id']}")).json()
    content = await client.get(f"/images/{entry['image_id']}/content")
    page = (await client.get("/images?status=accepted&limit=1")).json()

    assert status["status"] == "accepted"
    assert status["size_bytes"] == len(picture)
    assert content.content == picture
    assert [image["image_id"] for image in page["images"]] == [entry["image_id"]]
    assert page["next"] is None


async def test_pages_of_the_archive_neither_repeat_nor_lose(client: httpx.AsyncClient) -> None:
    entries = await upload(client, *(jpeg(number) for number in range(7)))

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(f"/images?limit=3{cursor}")).json()
        seen += [image["image_id"] for image in page["images"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"

    assert sorted(seen) == sorted(entry["image_id"] for entry in entries)


async def test_what_was_accepted_without_a_broker_is_published_by_the_sweeper(
    client: httpx.AsyncClient, opened: Opened, database_url: str
) -> None:
    (entry,) = await upload(client, jpeg(1))
    token = decode_token(entry["token"])
    assert token.outbox_id is not None

    kafka, deps = MemoryPublisher(), opened.deps
    kafka.partition = 3
    sweeper = Sweeper(deps.pool, outbox, kafka, OutboxSettings(), deps.metrics)
    await sweeper.sweep(age_s=0)

    (place,) = await rows(database_url, "SELECT * FROM outbox_places")
    assert (place["outbox_id"], place["part"], place["log_offset"]) == (token.outbox_id, 3, 0)
    assert await rows(database_url, "SELECT FROM outbox") == []


async def test_an_upload_is_kept_whole_or_not_at_all(
    client: httpx.AsyncClient, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox EXECUTE FUNCTION refuse()"
    )

    response = await client.post(
        "/images/upload", content=jpeg(1), headers={"content-type": "image/jpeg"}
    )

    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    for table in ("blobs", "images", "outbox"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    await connection.close()


async def test_one_idempotency_key_asks_once_also_when_sent_at_once(
    kafka: str, client: httpx.AsyncClient, database_url: str, topics_prefix: str
) -> None:
    async def ask() -> httpx.Response:
        return await client.post("/images/tags", json=ASKED, headers={"Idempotency-Key": "k"})

    responses = await asyncio.gather(*(ask() for _ in range(20)))

    assert {response.status_code for response in responses} == {202}
    (query_id,) = {response.json()["query_id"] for response in responses}
    assert sum("idempotency-replayed" not in response.headers for response in responses) == 1
    values = await all_values(kafka, topics_prefix + "queries.submitted.v1", 1)
    assert [QuerySubmitted.model_validate_json(value).query_id for value in values] == [
        UUID(query_id)
    ]


async def test_a_query_can_be_looked_at(client: httpx.AsyncClient) -> None:
    asked = await client.post("/images/tags", json={**ASKED, "top_n": 3})

    shown = (await client.get(f"/queries/{asked.json()['query_id']}")).json()

    assert shown["status"] == "accepted"
    assert shown["options"] == {"top_n": 3}
    assert shown["deliveries"] == []


async def test_the_real_guard_refuses_inner_addresses(client: httpx.AsyncClient) -> None:
    for url in (
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://0x7f000001/hook",
        "http://93.184.215.14/hook",
        "https://93.184.215.14:22/hook",
        "https://user:word@93.184.215.14/hook",
        "file:///etc/passwd",
        "gopher://93.184.215.14/",
        "nonsense",
    ):
        response = await client.post("/images/tags", json={**ASKED, "callback_url": url})
        assert response.status_code == 422, url
        assert response.json()["code"] == "callback_forbidden", url


async def test_a_full_outbox_stops_intake_until_there_is_room(
    client: httpx.AsyncClient, opened: Opened, database_url: str
) -> None:
    opened.deps.departures.max_rows = 2
    await upload(client, jpeg(1), jpeg(2))
    opened.deps.departures._counted = (float("-inf"), 0)  # counted anew at the next look

    full = await client.post("/images/tags", json=ASKED)
    connection = await asyncpg.connect(database_url)
    await connection.execute("DELETE FROM outbox")
    await connection.close()
    opened.deps.departures._counted = (float("-inf"), 0)  # counted anew at the next look
    free = await client.post("/images/tags", json=ASKED)

    assert (full.status_code, full.json()["code"]) == (503, "overloaded")
    assert full.headers["retry-after"] == "5"
    assert free.status_code == 202


async def test_a_directory_becomes_a_job_with_its_count(
    client: httpx.AsyncClient, tmp_path: Any
) -> None:
    folder = tmp_path / "photos" / "2024"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    (folder / "notes.txt").write_text("no photo")

    made = await client.post(
        "/tag/directory",
        json={"directory_path": "photos/2024", "tags": ["pizza"], "file_extensions": ["jpg"]},
    )
    shown = (await client.get(f"/jobs/{made.json()['job_id']}")).json()

    assert made.status_code == 202, made.text
    assert made.json()["files_count"] == 3
    assert (shown["state"], shown["total"], shown["directory"]) == ("waiting", 3, "photos/2024")


async def test_a_file_under_a_root_is_announced_and_its_tags_awaited(
    client: httpx.AsyncClient, database_url: str, tmp_path: Any, opened: Opened
) -> None:
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(1))

    asked = asyncio.create_task(client.post("/tag/image", json={"image_path": "photos/a.jpg"}))
    connection = await asyncpg.connect(database_url)
    async with asyncio.timeout(10):
        while not await connection.fetchval("SELECT count(*) FROM images"):
            await asyncio.sleep(0.02)
    await connection.execute(
        "UPDATE images SET status = 'failed', reason = 'decoder_died', detail = 'memory',"
        " updated_at = clock_timestamp()"
    )
    await connection.close()
    response = await asked

    assert response.status_code == 200, response.text
    assert response.json() == {
        "image_path": "photos/a.jpg",
        "tags": [],
        "exif_datetime": None,
        "error": "decoder_died: memory",
    }


async def test_with_the_database_away_it_answers_503_and_says_so(
    client: httpx.AsyncClient, database_url: str, postgres_url: str
) -> None:
    (entry,) = await upload(client, jpeg(1))
    name = database_url.rpartition("/")[2]
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
    )
    try:
        image = await client.get(f"/images/{entry['image_id']}")
        health = await client.get("/health")
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()

    assert (image.status_code, image.json()["code"]) == (503, "unavailable")
    assert health.status_code == 503
    assert health.json()["checks"]["database"]["status"] == "away"
    assert (await client.get(f"/images/{uuid4()}")).status_code == 404  # it has come back
