"""`/timeline` and `/timeline/{month}`: counts and columns, as brute force finds them."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from core.storage.archive import curation
from core.storage.finding import timeline
from core.tags import Slowness
from ingress.auth.api_keys import Scope
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_images import get, uploaded
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World

MAY, JUNE = datetime(2024, 5, 15, 14, 30), datetime(2024, 6, 1)  # noqa: DTZ001 - as EXIF
ARRIVED = "2026-02-03 10:00+00"


@dataclass(frozen=True)
class Photo:
    """One photo of a month, as the columns have it."""

    image_id: UUID
    ratio: int
    colour: str
    status: int


@dataclass(frozen=True)
class Month:
    """A part of a month, taken apart."""

    part: int
    parts: int
    photos: tuple[Photo, ...]


def read_columns(body: bytes) -> Month:
    magic, n, part, parts = struct.unpack_from("<4sIII", body)
    assert magic == b"PAT1"
    assert len(body) == 16 + 22 * n
    ids, ratios, colours = 16, 16 + 16 * n, 16 + 18 * n
    return Month(
        part,
        parts,
        tuple(
            Photo(
                UUID(bytes=body[ids + 16 * at : ids + 16 * at + 16]),
                struct.unpack_from("<H", body, ratios + 2 * at)[0],
                body[colours + 3 * at : colours + 3 * at + 3].hex(),
                body[16 + 21 * n + at],
            )
            for at in range(n)
        ),
    )


async def month(world: World, path: str, owner: str = "alice") -> Month:
    response = await get(world, f"/timeline/{path}", owner=owner)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    return read_columns(response.content)


async def months(world: World, query: str = "", owner: str = "alice") -> dict[str, int]:
    document = (await get(world, f"/timeline{query}", owner=owner)).json()
    assert document["is_exact"] is True
    assert document["total"] == sum(one["images"] for one in document["months"])
    names = [one["month"] for one in document["months"]]
    assert names == sorted(names, reverse=True)
    return {one["month"]: one["images"] for one in document["months"]}


async def photo(world: World, number: int, taken: datetime | None, **found: object) -> UUID:
    """A tagged photo of Alice's that arrived in February 2026."""
    image_id = await uploaded(world, jpeg(number))
    await world.pool.execute(
        "UPDATE images SET arrived_at = $2::text::timestamptz, taken_at = $2::text::timestamptz"
        " WHERE image_id = $1",
        image_id, ARRIVED,
    )  # fmt: skip
    await world.tag(image_id, ("cat", 0.9), exif_datetime=taken, **found)
    return image_id


async def test_months_are_counted_by_the_date_taken_else_by_the_arrival(world: World) -> None:
    await photo(world, 1, MAY)
    await photo(world, 2, MAY.replace(day=31, hour=23, minute=59))
    await photo(world, 3, JUNE)
    await photo(world, 4, None)
    await photo(world, 5, datetime(2999, 1, 1))  # noqa: DTZ001 - a clock that runs ahead
    assert await months(world) == {"2026-02": 2, "2024-06": 1, "2024-05": 2}


async def test_a_month_comes_in_columns_the_last_taken_first(world: World) -> None:
    first = await photo(world, 1, MAY, width=400, height=300, colour=0xA1B2C3)
    last = await photo(world, 2, MAY.replace(day=16), width=3, height=65535 * 4, colour=0)
    await photo(world, 3, JUNE)

    found = await month(world, "2024-05")

    assert (found.part, found.parts) == (0, 1)
    assert found.photos == (Photo(last, 1, "000000", 1), Photo(first, 1333, "a1b2c3", 1))


async def test_every_status_has_its_number_and_what_people_decided_its_bits(world: World) -> None:
    waiting = await uploaded(world, jpeg(1))
    failed = await uploaded(world, jpeg(2))
    await world.fail(failed, "truncated", "")
    parked = await uploaded(world, jpeg(3))
    await world.park(parked, Slowness.PICTURE)
    missing, decided = await uploaded(world, jpeg(4)), await uploaded(world, jpeg(5))
    for each in (missing, decided):
        await world.tag(each, ("cat", 0.9))
    await world.pool.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", missing)
    async with world.pool.transaction() as tx:
        await curation.exclude(tx, decided, excluded=True)
        await curation.set_tags(tx, decided, [])

    now = datetime.now(UTC).strftime("%Y-%m")
    found = await month(world, now)

    assert {one.image_id: one.status for one in found.photos} == {
        waiting: 0,
        failed: 2,
        parked: 64,
        missing: 3,
        decided: 1 + 16 + 32,
    }
    assert {one.ratio for one in found.photos if one.status in {0, 2}} == {0}
    assert await months(world) == {now: 5}


async def test_a_large_month_comes_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "PART_IMAGES", 2)
    ids = [await photo(world, n, MAY.replace(day=20 - n)) for n in range(1, 6)]

    parts = [await month(world, f"2024-05?part={part}") for part in range(3)]
    shown = (await get(world, "/timeline")).json()["months"]

    assert [one.image_id for part in parts for one in part.photos] == ids
    assert [(part.part, part.parts) for part in parts] == [(0, 3), (1, 3), (2, 3)]
    assert shown == [{"month": "2024-05", "images": 5, "mean_ratio": 1.333, "parts": 3}]
    assert (await month(world, "2024-05?part=3")).photos == ()


async def test_what_others_own_is_not_counted_and_not_shown(world: World) -> None:
    mine = await photo(world, 1, MAY)
    await world.pool.execute("UPDATE images SET open_to_all = false")
    assert await months(world, owner="bob") == {}
    assert (await month(world, "2024-05", owner="bob")).photos == ()
    assert [one.image_id for one in (await month(world, "2024-05")).photos] == [mine]
    assert await months(world) == {"2024-05": 1}


async def test_an_administrator_sees_what_is_anybodys(world: World) -> None:
    mine = await photo(world, 1, MAY)
    async with world.client(Scope.ADMIN, owner="root") as http:
        shown = (await http.get("/timeline")).json()
        found = read_columns((await http.get("/timeline/2024-05")).content)
    assert [one["images"] for one in shown["months"]] == [1]
    assert [one.image_id for one in found.photos] == [mine]


async def test_a_filter_holds_in_both(world: World) -> None:
    await world.know("dog")
    may = await photo(world, 1, MAY, camera="Leica", width=200, height=100)
    await photo(world, 2, MAY.replace(day=2))
    await photo(world, 3, JUNE, camera="Leica")
    ask = "?camera=Leica&from=2024-05-03&to=2024-06-01"

    shown = (await get(world, f"/timeline{ask}")).json()
    found = await month(world, f"2024-05{ask}")

    assert shown["months"] == [{"month": "2024-05", "images": 1, "mean_ratio": 2.0, "parts": 1}]
    assert [one.image_id for one in found.photos] == [may]
    assert await months(world, "?tag=cat") == {"2024-06": 1, "2024-05": 2}
    assert await months(world, "?tag=dog") == {}
    assert (await month(world, f"2024-06{ask}")).photos == ()


async def test_who_has_the_answer_is_told_so(world: World) -> None:
    await photo(world, 1, MAY)
    paths = ("/timeline", "/timeline/2024-05")
    etags = {}
    for path in paths:
        first = await get(world, path)
        again = await get(world, path, if_none_match=first.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert first.headers["cache-control"] == "private, no-cache"
        etags[path] = first.headers["etag"]
    await photo(world, 2, MAY)
    for path in paths:
        assert (await get(world, path, if_none_match=etags[path])).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/timeline/2024-13", "/timeline/0000-01", "/timeline/May", "/timeline/2024-05?part=-1",
        "/timeline/2024-05?part=x", "/timeline?order=taken", "/timeline?limit=3",
    ],
)  # fmt: skip
async def test_what_is_no_month_part_or_filter_is_named(world: World, path: str) -> None:
    problem_in(await get(world, path), "invalid_request")


async def test_a_key_is_needed_that_may_read(world: World) -> None:
    async def asked(*scopes: Scope) -> httpx.Response:
        async with world.client(*scopes) as http:
            return await http.get("/timeline")

    problem_in(await asked(), "key_missing")
    problem_in(await asked(Scope.UPLOAD), "scope_missing")
