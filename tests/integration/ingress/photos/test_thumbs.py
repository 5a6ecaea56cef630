"""`GET /images/{id}/thumb`: kept ones, missing ones, and those that cannot be made."""

import asyncio
import hashlib
from collections.abc import MutableMapping
from uuid import UUID, uuid4

import httpx
import pytest

from core.storage.thumbs import PostgresThumbs
from core.tags import Thumb, ThumbSize
from ingress.auth.api_keys import Scope
from ingress.http.limits import THUMBS_PER_S
from ingress.reading.thumbs import AT_ONCE, REMEMBERED_S
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_images import get, uploaded
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World

KEPT = b"\xff\xd8 kept \xff\xd9"
FOR_EVER = "private, max-age=31536000, immutable"
LIMIT_S = 60


async def keep(world: World, content: bytes, size: ThumbSize = ThumbSize.SMALL) -> None:
    digest = hashlib.sha256(content).digest()
    await PostgresThumbs(world.pool).keep([Thumb(digest, size, KEPT)])


async def until(world: World, asked: int, waiting: int = 0) -> None:
    """Wait until the decoder was asked so often, and so many wait for their turn."""
    async with asyncio.timeout(LIMIT_S):
        while len(world.decoder.asked) < asked or world.deps.thumbs.waiting < waiting:
            await asyncio.sleep(0.01)


async def leaving(world: World, image_id: UUID, key: str, gone: asyncio.Event) -> None:
    """Ask as a client that goes away when it is told to, and must get nothing."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, object]) -> None:
        raise AssertionError(message)

    path = f"/images/{image_id}/thumb"
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("1.2.3.4", 5),
        "server": ("archive", 80), "headers": [(b"x-api-key", key.encode())],
    }  # fmt: skip
    await world.app(scope, receive, send)


async def test_a_kept_thumbnail_is_sent_as_it_is(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await keep(world, jpeg(1))

    response = await get(world, f"/images/{image_id}/thumb")

    assert (response.status_code, response.content) == (200, KEPT)
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "private, no-cache"
    assert "sandbox" in response.headers["content-security-policy"]
    assert world.decoder.asked == []


async def test_the_address_in_links_may_be_kept_for_ever(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await world.tag(image_id, ("cat", 0.9), colour=0x0A1B2C)
    await keep(world, jpeg(1))
    shown = (await get(world, f"/images/{image_id}")).json()
    link = shown["links"]["thumb"].removeprefix("http://archive")

    assert shown["colour"] == "#0a1b2c"
    assert link == f"/images/{image_id}/thumb?v={hashlib.sha256(jpeg(1)).hexdigest()[:12]}"
    assert (await get(world, link)).headers["cache-control"] == FOR_EVER
    assert (await get(world, f"{link}0")).headers["cache-control"] == "private, no-cache"


async def test_a_client_that_has_it_is_told_so_without_a_look_into_the_store(
    world: World,
) -> None:
    image_id = await uploaded(world, jpeg(1))
    await keep(world, jpeg(1))
    path = f"/images/{image_id}/thumb"
    etag = (await get(world, path)).headers["etag"]
    await world.pool.execute("DELETE FROM thumbs")

    again = await get(world, path, if_none_match=etag)
    large = await get(world, f"{path}?size=large", if_none_match=etag)

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert not etag.startswith("W/")
    assert large.status_code == 200
    assert [size for _, size in world.decoder.asked] == ["large"]


async def test_a_missing_one_is_made_once_and_kept(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    first = await get(world, f"/images/{image_id}/thumb")
    second = await get(world, f"/images/{image_id}/thumb")
    large = await get(world, f"/images/{image_id}/thumb?size=large")

    assert first.status_code == second.status_code == large.status_code == 200
    assert first.content == second.content != large.content
    assert world.decoder.asked == [(jpeg(1), "small"), (jpeg(1), "large")]
    assert await world.count("thumbs") == 2


async def test_many_who_ask_for_one_at_once_have_it_made_once(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    world.decoder.go.clear()
    async with world.client(Scope.READ) as http, asyncio.TaskGroup() as group:
        path = f"/images/{image_id}/thumb"
        asking = [group.create_task(http.get(path)) for _ in range(10)]
        await until(world, 1)
        world.decoder.go.set()

    assert {task.result().status_code for task in asking} == {200}
    assert len(world.decoder.asked) == 1


async def test_a_scrubbed_gallery_gets_all_and_few_are_made_at_a_time(world: World) -> None:
    """Nothing of it counts in the rate of other requests."""
    ids = [await uploaded(world, jpeg(number)) for number in range(120)]
    async with world.client(Scope.READ) as http:
        world.deps.guards.rate.burst = 1
        world.deps.guards.rate.buckets.clear()
        answers = await asyncio.gather(*(http.get(f"/images/{each}/thumb") for each in ids))
        again = await asyncio.gather(*(http.get(f"/images/{each}/thumb") for each in ids))
        other = await http.get(f"/images/{ids[0]}")

    assert [one.status_code for one in (*answers, *again, other)] == [200] * 241
    assert len(world.decoder.asked) == 120
    assert world.decoder.most_at_once <= AT_ONCE


async def test_the_rate_of_thumbnails_has_an_end(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await keep(world, jpeg(1))
    async with world.client(Scope.READ) as http:
        for _ in range(2 * int(THUMBS_PER_S)):
            last = await http.get(f"/images/{image_id}/thumb")
        problem_in(await http.get(f"/images/{image_id}/thumb"), "rate_limited")
        other = await http.get(f"/images/{image_id}")

    assert (last.status_code, other.status_code) == (200, 200)


async def test_what_waits_to_be_made_is_bounded_and_leaves_room_for_others(
    make_world: MakeWorld,
) -> None:
    world = make_world(max_connections=40)  # 24 for thumbnails to be made, 6 of one key
    ids = [await uploaded(world, jpeg(number)) for number in range(8)]
    world.decoder.go.clear()
    async with world.client(Scope.READ) as http, world.client(Scope.READ) as another:
        for each in (http, another):
            await each.get("/images")  # the keys are known from now on
        paths = [f"/images/{each}/thumb" for each in ids]
        waiting = [asyncio.create_task(http.get(path)) for path in paths[:6]]
        await until(world, AT_ONCE, waiting=3)
        refused = await http.get(paths[6])
        other = await http.get(f"/images/{ids[0]}")
        anothers = asyncio.create_task(another.get(paths[7]))
        await until(world, AT_ONCE, waiting=4)
        world.decoder.go.set()
        answers = await asyncio.gather(*waiting, anothers)

    problem_in(refused, "rate_limited")
    assert other.status_code == 200
    assert {one.status_code for one in answers} == {200}


async def test_who_goes_away_has_nothing_made(world: World) -> None:
    ids = [await uploaded(world, jpeg(number)) for number in range(AT_ONCE + 2)]
    world.decoder.go.clear()
    async with world.client(Scope.READ) as http:
        first = [asyncio.create_task(http.get(f"/images/{each}/thumb")) for each in ids[:AT_ONCE]]
        await until(world, AT_ONCE)
        gone = asyncio.Event()
        key = http.headers["X-API-Key"]
        later = [asyncio.create_task(leaving(world, each, key, gone)) for each in ids[AT_ONCE:]]
        await until(world, AT_ONCE, waiting=2)
        gone.set()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*later)
        assert world.deps.thumbs.waiting == 0
        world.decoder.go.set()
        await asyncio.gather(*first)

    assert len(world.decoder.asked) == AT_ONCE
    assert world.deps.thumbs.waiting == 0


async def test_a_picture_that_gives_none_says_why_and_is_not_tried_again_for_a_while(
    world: World,
) -> None:
    bad, slow = jpeg(1), jpeg(2) + b"slow"
    image_id, slow_id = await uploaded(world, bad), await uploaded(world, slow)
    gone_id = await uploaded(world, jpeg(3))
    await world.pool.execute(
        "DELETE FROM blobs WHERE sha256 = $1", hashlib.sha256(jpeg(3)).digest()
    )
    await world.pool.execute(
        "UPDATE blobs SET content = 'text' WHERE sha256 = $1", hashlib.sha256(bad).digest()
    )

    changed = problem_in(await get(world, f"/images/{image_id}/thumb"), "thumb_missing")
    too_slow = problem_in(await get(world, f"/images/{slow_id}/thumb"), "thumb_missing")
    gone = problem_in(await get(world, f"/images/{gone_id}/thumb"), "thumb_missing")
    asked = len(world.decoder.asked)
    again = problem_in(await get(world, f"/images/{slow_id}/thumb"), "thumb_missing")

    assert "image_changed" in changed["detail"]
    assert "slow_picture" in too_slow["detail"]
    assert "image_missing" in gone["detail"]
    assert (again["detail"], len(world.decoder.asked)) == (too_slow["detail"], asked)
    world.seconds += REMEMBERED_S + 1
    problem_in(await get(world, f"/images/{slow_id}/thumb"), "thumb_missing")
    assert len(world.decoder.asked) == asked + 1


async def test_a_failed_image_has_the_reason_that_it_failed_for(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await world.fail(image_id, "truncated", "2 of 3 rows")

    problem = problem_in(await get(world, f"/images/{image_id}/thumb"), "thumb_missing")

    assert problem["detail"] == "truncated: 2 of 3 rows"
    assert world.decoder.asked == []


@pytest.mark.parametrize("path", ["thumb", "thumb?size=large"])
async def test_others_cannot_tell_that_it_is_there(world: World, path: str) -> None:
    image_id = await uploaded(world, jpeg(1))
    await keep(world, jpeg(1))

    problem_in(await get(world, f"/images/{image_id}/{path}", owner="bob"), "image_not_found")
    problem_in(await get(world, f"/images/{uuid4()}/{path}"), "image_not_found")


async def test_a_size_that_is_none_is_named(world: World) -> None:
    problem = problem_in(await get(world, f"/images/{uuid4()}/thumb?size=huge"), "invalid_request")
    assert "huge" in problem["detail"]


async def test_a_store_that_is_away_is_no_missing_picture(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))

    async def away(http: httpx.AsyncClient, which: UUID) -> httpx.Response:
        world.pool.is_away = True
        try:
            return await http.get(f"/images/{which}/thumb")
        finally:
            world.pool.is_away = False

    async with world.client(Scope.READ) as http:
        assert (await http.get(f"/images/{image_id}")).status_code == 200  # the key is known
        problem_in(await away(http, image_id), "unavailable")
        assert (await http.get(f"/images/{image_id}/thumb")).status_code == 200
