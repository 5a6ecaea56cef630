"""`GET /images`, `/images/{id}` and `/images/{id}/content`."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from core.tags import Slowness
from core.webhooks.links import sign_link
from ingress.auth.api_keys import Scope
from tests.fakes.pictures import flat_png, jpeg
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import LINK_KEY, NOW, World


async def uploaded(world: World, content: bytes, owner: str = "alice") -> UUID:
    async with world.client(Scope.UPLOAD, owner=owner) as http:
        response = await http.post(
            "/images/upload", content=content, headers={"content-type": "image/jpeg"}
        )
    return UUID(response.json()["images"][0]["image_id"])


async def get(world: World, path: str, owner: str = "alice", **headers: str) -> httpx.Response:
    async with world.client(Scope.READ, owner=owner) as http:
        return await http.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_the_status_of_an_image_follows_its_life(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    before = (await get(world, f"/images/{image_id}")).json()
    await world.tag(image_id, ("cat", 0.93), width=320, height=240)
    after = (await get(world, f"/images/{image_id}")).json()

    assert (before["status"], before["tags"]) == ("accepted", None)
    assert (after["status"], after["tags"]) == ("tagged", [{"tag": "cat", "score": 0.93}])
    assert (after["model"], after["width"], after["height"]) == ("demo", 320, 240)
    assert after["media_type"] == "image/jpeg"
    assert after["links"]["content"] == f"http://archive/images/{image_id}/content"


async def test_an_image_that_was_set_aside_says_that_it_waits_and_why(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    assert (await get(world, f"/images/{image_id}")).json()["waits_for"] is None
    await world.park(image_id, Slowness.PICTURE)

    shown = (await get(world, f"/images/{image_id}")).json()
    listed = (await get(world, "/images")).json()["images"]

    assert (shown["status"], shown["waits_for"], shown["error"]) == (
        "accepted",
        "slow_picture",
        None,
    )
    assert [one["waits_for"] for one in listed] == ["slow_picture"]


async def test_an_image_says_where_its_time_comes_from_and_whether_it_is_cut(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    before = (await get(world, f"/images/{image_id}")).json()
    taken = datetime.fromisoformat("2024-05-15 14:30:22")
    await world.tag(image_id, ("cat", 0.93), exif_datetime=taken, exif_source="GPS", truncated=True)
    after = (await get(world, f"/images/{image_id}")).json()

    assert (before["exif_source"], before["truncated"]) == (None, None)
    assert after["exif_datetime"] == "2024:05:15 14:30:22"
    assert (after["exif_source"], after["truncated"]) == ("GPS", True)


async def test_a_failed_image_says_why(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await world.fail(image_id, "decoder_died", "memory limit")

    document = (await get(world, f"/images/{image_id}")).json()

    assert document["status"] == "failed"
    assert document["error"]["code"] == "decoder_died"
    assert document["error"]["detail"] == "memory limit"


async def test_what_two_owners_sent_both_can_see(world: World) -> None:
    image_id = await uploaded(world, jpeg(1), owner="alice")
    assert await uploaded(world, jpeg(1), owner="bob") == image_id

    for owner in ("alice", "bob"):
        assert (await get(world, f"/images/{image_id}", owner=owner)).status_code == 200


@pytest.mark.parametrize("tail", ["", "/content"])
async def test_another_owners_image_and_an_unknown_one_look_the_same(
    world: World, tail: str
) -> None:
    image_id = await uploaded(world, jpeg(1))

    other = problem_in(
        await get(world, f"/images/{image_id}{tail}", owner="bob"), "image_not_found"
    )
    unknown_id = uuid4()
    unknown = problem_in(await get(world, f"/images/{unknown_id}{tail}"), "image_not_found")

    assert other["detail"].replace(str(image_id), "") == unknown["detail"].replace(
        str(unknown_id), ""
    )


async def test_the_bytes_come_with_a_type_of_our_own_and_can_run_nothing(world: World) -> None:
    picture = jpeg(1)
    image_id = await uploaded(world, picture)

    response = await get(world, f"/images/{image_id}/content")

    assert response.content == picture
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["content-disposition"] == f"inline; filename={image_id}"


async def test_bytes_on_their_way_out_count_until_they_are_sent(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    budget = world.deps.guards.bodies
    budget.limit = (await world.image(image_id)).size_bytes or 0

    assert (await get(world, f"/images/{image_id}/content")).status_code == 200
    assert budget.used == 0
    budget.limit -= 1

    problem_in(await get(world, f"/images/{image_id}/content"), "overloaded")
    assert budget.used == 0


async def test_bytes_that_are_no_picture_are_never_shown(world: World) -> None:
    image_id = await uploaded(world, flat_png(4, 4))
    await world.pool.execute("UPDATE blobs SET content = $1", b"<script>alert(1)</script>")

    response = await get(world, f"/images/{image_id}/content")

    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"].startswith("attachment")


async def test_what_the_client_has_is_not_sent_again(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    first = await get(world, f"/images/{image_id}/content")

    again = await get(world, f"/images/{image_id}/content", if_none_match=first.headers["etag"])

    assert again.status_code == 304
    assert again.content == b""


async def test_bytes_that_are_gone_are_a_404(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await world.pool.execute("DELETE FROM blobs")

    problem_in(await get(world, f"/images/{image_id}/content"), "image_not_found")


async def test_a_signed_link_needs_no_key_until_it_expires(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    link = sign_link(
        f"/images/{image_id}/content", expires_at=NOW + timedelta(hours=1), key=LINK_KEY
    )
    async with world.client() as http:
        valid = await http.get(link)
        world.now += timedelta(hours=2)
        expired = await http.get(link)

    assert valid.content == jpeg(1)
    problem_in(expired, "link_invalid")


async def test_a_signed_link_opens_nothing_else(world: World) -> None:
    first, second = await uploaded(world, jpeg(1)), await uploaded(world, jpeg(2))
    link = sign_link(f"/images/{first}/content", expires_at=NOW + timedelta(hours=1), key=LINK_KEY)
    async with world.client() as http:
        other_image = await http.get(link.replace(str(first), str(second)))
        status = await http.get(link.replace("/content", ""))
        changed = await http.get(link[:-1])

    problem_in(other_image, "link_invalid")
    problem_in(status, "key_missing")
    problem_in(changed, "link_invalid")


async def test_the_archive_comes_page_by_page_the_newest_first(world: World) -> None:
    ids = [str(await uploaded(world, jpeg(number))) for number in range(5)]

    seen: list[str] = []
    path: str | None = "/images?limit=2"
    while path is not None:
        page = (await get(world, path)).json()
        seen += [image["image_id"] for image in page["images"]]
        path = f"/images?limit=2&cursor={page['next']}" if page["next"] else None

    assert seen == ids[::-1]


async def test_an_owner_sees_own_images_and_those_of_nobody(world: World) -> None:
    mine, other = await uploaded(world, jpeg(1)), await uploaded(world, jpeg(2), owner="bob")

    page = (await get(world, "/images")).json()

    assert [image["image_id"] for image in page["images"]] == [str(mine)]
    assert str(other) not in str(page)


async def test_the_archive_can_be_filtered(world: World) -> None:
    cat, dog = await uploaded(world, jpeg(1)), await uploaded(world, jpeg(2))
    await world.tag(cat, ("cat", 0.9))

    by_tag = (await get(world, "/images?tag=cat")).json()["images"]
    by_status = (await get(world, "/images?status=accepted")).json()["images"]

    assert [image["image_id"] for image in by_tag] == [str(cat)]
    assert [image["image_id"] for image in by_status] == [str(dog)]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=+5", "limit"),  # int() reads this and the next two
        ("limit=1_0", "limit"),
        ("limit=٣", "limit"),
        ("limit=0000000019999999", "limit"),
        (f"limit={'0' * 9}{'1' * 5000}", "limit"),
        ("status=gone", "status"),
        ("tag=", "tag"),
        ("tag=a%00b", "tag"),
        ("job=7", "job"),
        ("cursor=!!!", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("tags=cat", "tags"),
    ],
)
async def test_a_parameter_that_breaks_its_rule_is_named(
    world: World, query: str, pointer: str
) -> None:
    response = await get(world, f"/images?{query}")

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"] == pointer
