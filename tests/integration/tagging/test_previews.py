"""Label previews: made by the tagging process, read over HTTP, equal to the later result."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from consumers.tagging import previewing
from consumers.tagging.previewing import Previewing
from core.storage import labels
from core.storage.archive import curation
from core.storage.scoring import label_previews
from core.tags import Label, TagScore
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from tests.integration.ingress.world import MakeWorld, WatchedPool, World
from tests.integration.tagging.archive import Archive, arrival

IMAGES = 40
WANTED = ["cat", "dog", "beach", "snow", "harbour"]  # five are removed, two added


@pytest.fixture
def make_world(archive: Archive, tmp_path: Path) -> MakeWorld:
    return MakeWorld(WatchedPool(archive.pool), tmp_path)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(wait_for_tags_s=5.0)


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(Scope.ADMIN) as client:
        yield client


@pytest.fixture
async def previewer(archive: Archive) -> AsyncIterator[Previewing]:
    """A companion at work, as in the tagging process."""
    made = Previewing(archive.pool, archive.clip)
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    yield made
    stop.set()
    await task


def body(names: list[str], **options: Any) -> dict[str, Any]:
    return {"labels": [{"name": name} for name in names], **options}


async def dump(archive: Archive) -> list[Any]:
    """Return all rows that a preview must not change."""
    tables = ("tagged_images", "image_tags", "labels", "label_set", "combo_best", "rescoring")
    return [
        await archive.pool.fetch(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables
    ]


async def test_the_figures_are_those_that_the_re_score_brings(
    archive: Archive, admin: httpx.AsyncClient, previewer: Previewing
) -> None:
    await archive.tag(*(arrival(number) for number in range(IMAGES)))
    await archive.tag(arrival(50, labels=("lynx", "cat")))  # its own labels: stays as it is
    async with archive.pool.transaction() as tx:
        await curation.set_tags(tx, image_id_of("file:p/7.jpg"), [TagScore("by hand", 1)])
    before = await dump(archive)

    answer = await admin.post("/labels/preview", json=body(WANTED))

    assert answer.status_code == 200, answer.text
    assert await dump(archive) == before
    outcome = answer.json()["outcome"]
    assert outcome["images"] == IMAGES - 1
    old = {path: list(row["tags"]) for path, row in (await archive.rows()).items()}
    assert (await admin.put("/labels", json=body(WANTED))).status_code == 200
    await archive.rescore()
    new = {path: list(row["tags"]) for path, row in (await archive.rows()).items()}
    counted = {f"p/{number}.jpg" for number in range(IMAGES) if number != 7}
    assert outcome["changed"] == sum(old[path] != new[path] for path in counted) > 0
    assert outcome["changed_best"] == sum(old[path][0] != new[path][0] for path in counted) > 0
    had = Counter(tag for path in counted for tag in old[path])
    gets = Counter(tag for path in counted for tag in new[path])
    assert {one["name"]: (one["before"], one["after"]) for one in outcome["labels"]} == {
        name: (had[name], gets[name]) for name in {*had, *WANTED}
    }
    rows = await archive.rows()
    assert len(outcome["examples"]) == 12
    for example in outcome["examples"]:
        shown = {tag["tag"]: tag["score"] for tag in example["after"]}
        assert shown == rows[example["image_path"]]["tags"]
        assert [tag["tag"] for tag in example["before"]] == old[example["image_path"]]


async def test_a_sample_is_a_part_and_the_same_each_time(
    archive: Archive, admin: httpx.AsyncClient, previewer: Previewing
) -> None:
    await archive.tag(*(arrival(number) for number in range(IMAGES)))

    one = await admin.post("/labels/preview", json=body(WANTED, sample=10))
    two = await admin.post("/labels/preview", json=body(WANTED, sample=10))

    assert one.json()["outcome"]["images"] == 10
    assert one.json()["outcome"] == two.json()["outcome"]


async def test_labels_in_force_change_nothing(
    archive: Archive, admin: httpx.AsyncClient, previewer: Previewing
) -> None:
    await archive.tag(*(arrival(number) for number in range(5)))
    names = [label.name for label in (await labels.current(archive.pool)).labels]

    outcome = (await admin.post("/labels/preview", json=body(names))).json()["outcome"]

    assert (outcome["images"], outcome["changed"], outcome["examples"]) == (5, 0, [])


async def test_while_no_tagging_process_runs_the_answer_is_where_to_look(
    archive: Archive, make_world: MakeWorld
) -> None:
    world = make_world(wait_for_tags_s=0.0)
    async with world.client(Scope.ADMIN) as client:
        asked = await client.post("/labels/preview", json=body(WANTED))
        path = f"/labels/preview/{asked.json()['preview_id']}"
        assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
        assert asked.headers["location"].endswith(path)

        assert await Previewing(archive.pool, archive.clip).step()

        done = await client.get(path)
        assert (done.status_code, done.json()["state"]) == (200, "done")
        assert done.json()["outcome"]["images"] == 0

        replaced = await client.post("/labels/preview", json=body(["a"]))
        await client.post("/labels/preview", json=body(["b"]))
        gone = await client.get(f"/labels/preview/{replaced.json()['preview_id']}")
        assert (gone.status_code, gone.json()["code"]) == (404, "preview_not_found")
    assert await archive.pool.fetchval("SELECT count(*) FROM label_previews") == 2


async def test_wrong_labels_other_versions_and_other_keys_are_refused(
    world: World, admin: httpx.AsyncClient, archive: Archive
) -> None:
    twice = await admin.post("/labels/preview", json=body(["cat", "Cat"]))
    much = await admin.post("/labels/preview", json=body(["cat"], sample=100_001))
    stale = await admin.post("/labels/preview", json=body(["cat"], version=7))
    async with world.client(Scope.READ, Scope.UPLOAD) as reader:
        forbidden = await reader.post("/labels/preview", json=body(["cat"]))

    assert [answer.status_code for answer in (twice, much, stale, forbidden)] == [
        422, 422, 409, 403,
    ]  # fmt: skip
    assert await archive.pool.fetchval("SELECT count(*) FROM label_previews") == 0


async def test_a_preview_is_taken_by_one_and_again_when_its_lease_has_run_out(
    archive: Archive,
) -> None:
    preview_id = image_id_of("any")
    async with archive.pool.transaction() as tx:
        await label_previews.ask(
            tx, preview_id, owner="alice", labels=[Label("a", ("b",), ("{}",), 0.5)], sample=3
        )
    async with archive.pool.connection() as connection:
        first = await label_previews.take(connection, 60)
        assert first is not None
        assert first.labels == (Label("a", ("b",), ("{}",), 0.5),)
        assert await label_previews.take(connection, 60) is None

        await archive.pool.execute("UPDATE label_previews SET lease_until = '-infinity'")
        again = await label_previews.take(connection, 60)
        assert again is not None
        assert (again.preview_id, again.attempts) == (preview_id, 2)


async def test_labels_that_end_the_process_again_and_again_are_given_up(archive: Archive) -> None:
    async with archive.pool.transaction() as tx:
        await label_previews.ask(
            tx, image_id_of("any"), owner="alice", labels=[Label("a")], sample=3
        )
    await archive.pool.execute(
        "UPDATE label_previews SET attempts = $1", previewing.MAX_ATTEMPTS
    )  # each ended without a log line

    assert await Previewing(archive.pool, archive.clip).step()

    async with archive.pool.connection() as connection:
        seen = await label_previews.get(connection, image_id_of("any"))
    assert seen is not None
    assert (seen.state, seen.error) == ("failed", "given up: 3 attempts came to no end")


async def test_a_sample_in_several_portions_is_the_same_sample(
    archive: Archive,
    admin: httpx.AsyncClient,
    previewer: Previewing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await archive.tag(*(arrival(number) for number in range(IMAGES)))
    whole = (await admin.post("/labels/preview", json=body(WANTED, sample=35))).json()["outcome"]

    monkeypatch.setattr(previewing, "IMAGES_PER_PORTION", 8)
    parts = (await admin.post("/labels/preview", json=body(WANTED, sample=35))).json()["outcome"]

    assert whole["images"] == 35
    assert parts == whole


async def test_what_people_decided_about_single_tags_counts(
    archive: Archive, admin: httpx.AsyncClient, previewer: Previewing
) -> None:
    await archive.tag(arrival(1), arrival(2))
    await archive.pool.execute(
        "UPDATE images SET rejected_tags = '{dog}', added_tags = '{grandma}' WHERE path = 'p/1.jpg'"
    )
    async with archive.pool.transaction() as tx:
        await curation.show(tx, [image_id_of("file:p/1.jpg")])

    outcome = (await admin.post("/labels/preview", json=body(WANTED))).json()["outcome"]

    figures = {one["name"]: (one["before"], one["after"]) for one in outcome["labels"]}
    assert figures["grandma"] == (1, 1)
    assert figures["dog"][1] <= 1
