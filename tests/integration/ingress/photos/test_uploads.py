"""`POST /images/upload`."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from core.storage.stream import outbox
from ingress.auth.access import HEADER
from ingress.auth.api_keys import Scope
from schemas.image import ImageArrived, image_id_of
from schemas.record import Record
from schemas.token import Token, decode_token
from tests.fakes.pictures import flat_png, jpeg
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import PARTITION, MakeWorld, World

KIB = 1024


async def upload(world: World, *files: tuple[str, bytes]) -> httpx.Response:
    async with world.client(Scope.UPLOAD) as http:
        parts = [("file", (name, content, "image/jpeg")) for name, content in files]
        return await http.post("/images/upload", files=parts)


async def raw(
    world: World, content: bytes | AsyncIterator[bytes], **headers: str
) -> httpx.Response:
    sent = {"content-type": "image/jpeg", **{k.replace("_", "-"): v for k, v in headers.items()}}
    async with world.client(Scope.UPLOAD) as http:
        return await http.post("/images/upload", content=content, headers=sent)


async def test_bytes_row_and_event_are_kept_in_one_transaction(world: World) -> None:
    picture = jpeg(1)

    response = await upload(world, ("cat.jpg", picture))

    assert response.status_code == 202
    (entry,) = response.json()["images"]
    uri = f"blob:{hashlib.sha256(picture).hexdigest()}"
    assert entry["image_id"] == str(image_id_of(uri))
    assert entry["status"] == "accepted"
    assert entry["duplicate"] is False
    assert entry["error"] is None
    assert entry["links"]["self"] == f"http://archive/images/{entry['image_id']}"
    assert world.pool.commits == 1
    assert await world.deps.blobs.read_all([uri]) == [picture]
    row = await world.image(image_id_of(uri))
    assert (row.path, row.media_type) == ("cat.jpg", "image/jpeg")
    assert await world.owners(row.image_id) == ["alice"]
    (record,) = world.broker.records
    event = ImageArrived.model_validate_json(record.value)
    assert (event.uri, event.owner, event.path) == (uri, "alice", "cat.jpg")
    assert record.key == entry["image_id"].encode()


async def test_the_token_names_the_place_in_the_log(world: World) -> None:
    response = await upload(world, ("a.jpg", jpeg(1)))

    token = decode_token(response.json()["images"][0]["token"])

    assert token == Token("test-cluster", "images.arrived.v1", PARTITION, 0)
    assert await world.outbox() == []


async def test_an_upload_that_nobody_waits_for_goes_in_bulk_and_its_token_says_so(
    world: World,
) -> None:
    async with world.client(Scope.UPLOAD) as http:
        response = await http.post(
            "/images/upload",
            params={"lane": "bulk"},
            content=jpeg(1),
            headers={"content-type": "image/jpeg"},
        )

    assert response.status_code == 202
    token = decode_token(response.json()["images"][0]["token"])
    assert token == Token("test-cluster", "images.bulk.v1", PARTITION, 0)
    assert [record.topic for record in world.broker.records] == ["images.bulk.v1"]


async def test_a_lane_that_there_is_not_is_refused_before_anything_is_kept(world: World) -> None:
    async with world.client(Scope.UPLOAD) as http:
        response = await http.post("/images/upload", params={"lane": "quick"}, content=jpeg(1))

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"] == "lane"
    assert world.broker.records == []


async def test_with_the_broker_away_it_is_accepted_and_the_token_names_the_row(
    world: World,
) -> None:
    world.broker.is_away = True

    first = await upload(world, ("a.jpg", jpeg(1)))
    second = await upload(world, ("b.jpg", jpeg(2)))

    assert first.status_code == second.status_code == 202
    assert [decode_token(one.json()["images"][0]["token"]) for one in (first, second)] == [
        Token("test-cluster", outbox_id=row_id) for row_id in await world.outbox()
    ]
    assert len(await world.outbox()) == 2


async def test_after_a_failure_nobody_waits_for_the_broker_for_a_while(world: World) -> None:
    world.broker.is_away = True
    await upload(world, ("a.jpg", jpeg(1)))
    world.broker.is_away = False

    await upload(world, ("b.jpg", jpeg(2)))
    assert world.broker.records == []
    world.seconds += 3
    await upload(world, ("c.jpg", jpeg(3)))

    assert len(world.broker.records) == 1


async def test_a_slow_broker_does_not_hold_the_answer_and_the_place_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress.departures.WAIT_S", 0.01)
    world.broker.gate = asyncio.Event()

    response = await upload(world, ("a.jpg", jpeg(1)))
    (row_id,) = await world.outbox()
    assert decode_token(response.json()["images"][0]["token"]).outbox_id == row_id
    world.broker.gate.set()
    await world.deps.departures.drain(within_s=5)

    (place,) = await world.pool.fetch("SELECT outbox_id, topic FROM outbox_places")
    assert (place["outbox_id"], place["topic"]) == (row_id, "images.arrived.v1")
    assert await world.outbox() == []


async def test_the_same_bytes_twice_are_one_image_and_two_events(world: World) -> None:
    first = await upload(world, ("a.jpg", jpeg(1)))
    second = await upload(world, ("b.jpg", jpeg(1)))

    assert second.json()["images"][0]["duplicate"] is True
    assert first.json()["images"][0]["image_id"] == second.json()["images"][0]["image_id"]
    assert len(world.broker.records) == 2


async def test_one_bad_file_costs_one_entry(world: World) -> None:
    response = await upload(world, ("a.jpg", jpeg(1)), ("b.jpg", b"%PDF-1.7"), ("c.jpg", jpeg(3)))

    assert response.status_code == 202
    first, second, third = response.json()["images"]
    assert first["status"] == third["status"] == "accepted"
    assert second["status"] == "rejected"
    assert second["image_id"] is None
    assert second["error"]["code"] == "not_an_image"
    assert len(world.broker.records) == 2


async def test_a_file_that_is_no_picture_is_refused_with_its_first_bytes(world: World) -> None:
    response = await upload(world, ("cat.jpg", b"<svg onload=alert(1)>"))

    document = problem_in(response, "not_an_image")
    assert "3c 73 76 67" in document["detail"]
    assert document["errors"][0]["pointer"] == "/0"
    assert await world.count("images", "blobs") == 0


async def test_an_empty_file_is_refused(world: World) -> None:
    problem_in(await upload(world, ("cat.jpg", b"")), "not_an_image")


async def test_a_picture_with_too_many_pixels_is_refused_with_the_limit(
    make_world: MakeWorld,
) -> None:
    world = make_world(max_pixels=1_000_000)

    response = await upload(world, ("bomb.png", flat_png(2000, 2000)))

    assert "1000000" in problem_in(response, "image_unreadable")["detail"]


async def test_the_raw_body_is_an_upload_too(world: World) -> None:
    async with world.client(Scope.UPLOAD) as http:
        response = await http.post(
            "/images/upload?filename=sea.jpg",
            content=jpeg(1),
            headers={"content-type": "image/jpeg"},
        )

    (entry,) = response.json()["images"]
    assert entry["filename"] == "sea.jpg"
    assert entry["status"] == "accepted"


async def test_a_raw_body_over_the_limit_is_refused_by_its_announced_length(
    make_world: MakeWorld,
) -> None:
    world = make_world(max_image_bytes=64 * KIB)

    touched = []

    async def watched() -> AsyncIterator[bytes]:
        touched.append(True)
        yield b""

    response = await raw(world, watched(), content_length=str(65 * KIB))

    assert str(64 * KIB) in problem_in(response, "body_too_large")["detail"]
    assert touched == []


async def test_a_raw_body_over_the_limit_is_refused_while_it_comes(make_world: MakeWorld) -> None:
    world = make_world(max_image_bytes=64 * KIB)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 16 * KIB
            yield b"\xff\xd8\xff" + bytes(16 * KIB - 3)

    response = await raw(world, endless())

    problem_in(response, "body_too_large")
    assert sent <= 64 * KIB + 16 * KIB
    assert world.deps.guards.bodies.used == 0


async def test_a_part_over_the_limit_costs_its_entry_and_no_memory(make_world: MakeWorld) -> None:
    world = make_world(max_image_bytes=64 * KIB, max_files=3)

    response = await upload(world, ("big.jpg", bytes(100 * KIB)), ("ok.jpg", jpeg(1)))

    big, ok = response.json()["images"]
    assert big["error"]["code"] == "image_too_large"
    assert str(100 * KIB) in big["error"]["detail"]
    assert ok["status"] == "accepted"


async def test_a_lone_part_over_the_limit_is_a_413(make_world: MakeWorld) -> None:
    response = await upload(make_world(max_image_bytes=64 * KIB), ("big.jpg", bytes(100 * KIB)))

    problem_in(response, "image_too_large")


async def test_too_many_files_are_refused_and_the_first_ones_are_told(
    make_world: MakeWorld,
) -> None:
    world = make_world(max_files=2)

    response = await upload(world, *((f"{n}.jpg", jpeg(n)) for n in range(3)))

    document = problem_in(response, "too_many_files")
    assert len(document["images"]) == 2
    assert await world.count("images") == 2


async def test_a_part_with_another_name_is_refused(world: World) -> None:
    async with world.client(Scope.UPLOAD) as http:
        response = await http.post("/images/upload", files={"photo": ("a.jpg", jpeg(1))})

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"] == "/photo"


async def test_a_part_without_a_file_name_is_taken_under_its_hash(world: World) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n%b\r\n--x--\r\n' % jpeg(1)
    async with world.client(Scope.UPLOAD) as http:
        response = await http.post(
            "/images/upload",
            content=body,
            headers={"content-type": "multipart/form-data; boundary=x"},
        )

    assert response.status_code == 202, response.text
    (path,) = await world.paths()
    assert path == f"sha256:{hashlib.sha256(jpeg(1)).hexdigest()}"


async def test_a_refusal_says_its_code_once(world: World) -> None:
    response = await raw(world, b"%PDF-1.4 is no picture", content_type="image/jpeg")

    document = problem_in(response, "not_an_image")
    assert document["detail"].startswith("22 bytes beginning 25 50 44 46")
    assert document["errors"][0]["detail"] == f"not_an_image: {document['detail']}"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"not a boundary"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n\xff\xd8',
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(100)) + b"\r\n",
        ),
        ("multipart/form-data; boundary=" + "b" * 300, b"--x\r\n"),
    ],
)
async def test_broken_multipart_is_a_400(world: World, content_type: str, body: bytes) -> None:
    async with world.client(Scope.UPLOAD) as http:
        response = await http.post(
            "/images/upload", content=body, headers={"content-type": content_type}
        )

    problem_in(response, "malformed_multipart")
    assert await world.count("images") == 0


async def test_another_content_type_is_a_415_with_those_that_are_taken(world: World) -> None:
    response = await raw(world, b"{}", content_type="application/json")

    assert "multipart/form-data" in problem_in(response, "unsupported_media_type")["detail"]


async def test_the_file_name_keeps_no_folders_and_no_deceiving_characters(world: World) -> None:
    await upload(world, ("../../etc/\u202egpj.exe.jpg", jpeg(1)))

    (path,) = await world.paths()
    assert path == "gpj.exe.jpg"


async def test_with_the_database_away_nothing_is_promised(world: World) -> None:
    async with world.client(Scope.UPLOAD) as http:
        await http.post("/images/upload", files={"file": ("a.jpg", jpeg(1), "image/jpeg")})
        world.pool.is_away = True

        response = await http.post(
            "/images/upload", files={"file": ("b.jpg", jpeg(2), "image/jpeg")}
        )

    problem_in(response, "unavailable")
    assert response.headers["retry-after"] == "5"
    world.pool.is_away = False
    assert await world.count("images") == 1


async def test_a_full_outbox_is_a_503_before_the_body_is_read(world: World) -> None:
    world.broker.is_away = True
    waiting = [Record("images.arrived.v1", None, (), b"")] * 100
    async with world.pool.transaction() as tx:
        await outbox.add(tx, waiting)

    response = await upload(world, ("a.jpg", jpeg(1)))

    assert "limit is 100" in problem_in(response, "overloaded")["detail"]
    assert response.headers["retry-after"] == "5"
    assert await world.count("images") == 0


async def test_bodies_that_need_more_memory_than_is_free_are_put_off(make_world: MakeWorld) -> None:
    world = make_world(max_bytes_in_flight=1024 * KIB, max_image_bytes=1024 * KIB)
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield jpeg(1)
        await gate.wait()

    first = asyncio.create_task(raw(world, slow()))
    while world.deps.guards.bodies.used == 0:
        await asyncio.sleep(0)
    second = await raw(world, jpeg(2))
    gate.set()

    problem_in(second, "overloaded")
    assert (await first).status_code == 202
    assert world.deps.guards.bodies.used == 0


async def test_slow_uploads_of_one_key_leave_room_for_others(make_world: MakeWorld) -> None:
    world = make_world(max_bytes_in_flight=16 * 1024 * KIB, max_image_bytes=1024 * KIB)
    gate, slow, patient = (
        asyncio.Event(),
        await world.key(Scope.UPLOAD),
        await world.key(Scope.UPLOAD),
    )
    headers = {"Content-Type": "image/jpeg"}

    async def dripping() -> AsyncIterator[bytes]:
        yield jpeg(1)
        await gate.wait()

    async def send(key: str, content: AsyncIterator[bytes] | bytes) -> httpx.Response:
        transport = httpx.ASGITransport(world.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://archive") as http:
            asking = headers | {HEADER: key}
            return await http.post("/images/upload", content=content, headers=asking)

    held = [asyncio.create_task(send(slow.text, dripping())) for _ in range(20)]
    refused = [problem_in(one.result(), "rate_limited") for one in await _ended(held, 16)]
    other = await send(patient.text, jpeg(2))
    gate.set()

    assert len(refused) == 16
    assert other.status_code == 202
    assert [(await one).status_code for one in held].count(202) == 4
    assert world.deps.guards.bodies.used == 0


async def _ended(
    tasks: list[asyncio.Task[httpx.Response]], count: int
) -> list[asyncio.Task[httpx.Response]]:
    async with asyncio.timeout(10):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.001)
    return [task for task in tasks if task.done()]


async def test_a_body_that_drips_is_ended(make_world: MakeWorld) -> None:
    world = make_world(receive_timeout_s=0.05)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"\xff"
            await asyncio.sleep(0.01)

    response = await raw(world, drip())

    problem_in(response, "receive_timeout")


async def test_a_trace_of_the_request_goes_with_the_event(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with world.client(Scope.UPLOAD) as http:
        await http.post(
            "/images/upload",
            content=jpeg(1),
            headers={"content-type": "image/jpeg", "traceparent": trace},
        )

    assert world.broker.records[0].header("traceparent") == trace


@pytest.mark.parametrize("given", [None, "", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "x\x00"])
async def test_a_request_without_a_trace_begins_one(world: World, given: str | None) -> None:
    headers = {"content-type": "image/jpeg"} | ({} if given is None else {"traceparent": given})
    async with world.client(Scope.UPLOAD) as http:
        await http.post("/images/upload", content=jpeg(1), headers=headers)

    made = world.broker.records[0].header("traceparent")
    assert made is not None
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", made)
    assert made != given
