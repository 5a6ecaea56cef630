"""`GET /events`: one stream for all topics, one poller for all listeners."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.storage import keys
from core.storage.archive import images, ownership
from core.storage.pool import Pool
from core.storage.queries import queries, query_deletion
from core.storage.stream import changes
from core.transaction import Transaction
from ingress.auth.api_keys import Scope
from ingress.live.listeners import EventListener, Viewer
from ingress.live.poller import poller_of
from ingress.live.topics import ImagesTopic, Told
from tests.integration.ingress.page.listening import PATIENCE_S, listening
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World


async def accept(world: World, owner: str | None = "alice", path: str = "cat.jpg") -> UUID:
    """Let an image be there, as an upload does."""
    image_id = uuid4()
    async with world.pool.transaction() as tx:
        await images.accept(tx, image_id=image_id, uri=f"blob:{image_id}", path=path, owner=owner)
    return image_id


async def test_the_first_event_says_what_the_stream_tells_and_a_snapshot_follows(
    world: World,
) -> None:
    await accept(world)
    key = await world.key(Scope.READ)

    async with listening(world, "/events?topics=images,jobs,queries", key.text) as heard:
        (hello,) = await heard.until("hello")
        (snapshot,) = await heard.until("images")

    assert hello == {
        "topics": ["images"], "left_out": {"jobs": "paths", "queries": "query"}
    }  # fmt: skip
    assert snapshot == {
        "changed": [],
        "truncated": False,
        "statuses": {"accepted": 1, "tagged": 0, "failed": 0, "missing": 0},
    }
    assert heard.headers[b"content-type"].startswith(b"text/event-stream")


async def test_a_photo_that_is_tagged_is_told_with_its_three_best_tags(world: World) -> None:
    image_id = await accept(world)
    key = await world.key(Scope.READ)

    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        await world.tag(image_id, ("cat", 0.5), ("dog", 0.3), ("car", 0.1), ("beach", 0.05))
        told = await heard.until_told("images", lambda event: event["changed"])

    (image,) = told["changed"]
    assert (image["image_id"], image["status"]) == (str(image_id), "tagged")
    assert [tag["tag"] for tag in image["tags"]] == ["cat", "dog", "car"]
    assert told["statuses"]["tagged"] == 1


async def test_what_people_decided_about_a_photo_is_told_with_it(world: World) -> None:
    image_id = await accept(world)
    await world.tag(image_id, ("cat", 0.5))
    key = await world.key(Scope.READ, Scope.UPLOAD)

    async with (
        listening(world, "/events?topics=images", key.text) as heard,
        world.client(Scope.READ, Scope.UPLOAD) as http,
    ):
        await heard.until("images")
        changed = {"excluded": True, "tags": [{"tag": "cat", "score": 1}]}
        answer = await http.patch(f"/images/{image_id}", json=changed)
        assert answer.status_code == 200, answer.text
        told = await heard.until_told(
            "images", lambda e: any(image["by_hand"] for image in e["changed"])
        )

    assert told["changed"][0]["excluded"]


async def test_a_commit_that_lands_late_is_not_lost(world: World) -> None:
    key = await world.key(Scope.READ)
    late = await accept(world)

    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        async with world.pool.transaction() as tx:
            await changes.note(tx, "image", [late])  # it has its number, and is not visible yet
            early = [await accept(world) for _ in range(3)]
            for image_id in early:
                await heard.until_told("images", lambda e, i=image_id: str(i) in ids_of(e))
            assert not any(str(late) in ids_of(event) for event in heard.of("images"))
        await heard.until_told("images", lambda event: str(late) in ids_of(event))

    told = [image_id for event in heard.of("images") for image_id in ids_of(event)]
    assert sorted(told) == sorted(map(str, [late, *early])), "each once"


async def test_nobody_is_told_of_what_he_may_not_see(world: World) -> None:
    alice, bob = await world.key(Scope.READ), await world.key(Scope.READ, owner="bob")

    async with (
        listening(world, "/events?topics=images", alice.text) as heard_by_alice,
        listening(world, "/events?topics=images", bob.text) as heard_by_bob,
    ):
        await heard_by_alice.until("images")
        await heard_by_bob.until("images")
        hers = await accept(world, owner="alice")
        open_to_all = await accept(world, owner=None)
        for heard in (heard_by_alice, heard_by_bob):
            await heard.until_told("images", lambda event: str(open_to_all) in ids_of(event))

    assert any(str(hers) in ids_of(event) for event in heard_by_alice.of("images"))
    assert not any(str(hers) in ids_of(event) for event in heard_by_bob.of("images"))
    assert heard_by_bob.of("images")[-1]["statuses"]["accepted"] == 1


async def test_a_photo_that_is_gone_is_told_to_those_who_had_it_and_to_nobody_else(
    world: World,
) -> None:
    names = ("alice", "bob", "carol")
    alice, bob, carol = [(await world.key(Scope.READ, owner=name)).text for name in names]
    shared, hers = await accept(world), await accept(world)
    open_to_all = await accept(world, owner=None)
    async with world.pool.transaction() as tx:
        await ownership.join(tx, shared, "bob")

    async with (
        listening(world, "/events?topics=images", alice) as to_alice,
        listening(world, "/events?topics=images", bob) as to_bob,
        listening(world, "/events?topics=images", carol) as to_carol,
    ):
        for heard in (to_alice, to_bob, to_carol):
            await heard.until("images")
        async with world.client(Scope.UPLOAD, Scope.READ) as http:
            for image_id in (shared, hers):
                assert (await http.delete(f"/images/{image_id}")).is_success
        async with world.client(Scope.ADMIN, owner="root") as http:
            assert (await http.delete(f"/images/{open_to_all}")).is_success
        for heard in (to_alice, to_bob, to_carol):
            await heard.until_told("images", lambda event: str(open_to_all) in deleted_in(event))

    assert deleted_in(*to_alice.of("images")) == set(map(str, (shared, hers, open_to_all)))
    assert deleted_in(*to_bob.of("images")) == {str(open_to_all)}
    assert deleted_in(*to_carol.of("images")) == {str(open_to_all)}
    assert not any(str(hers) in ids_of(event) for event in to_carol.of("images"))


def deleted_in(*events: dict[str, Any]) -> set[str]:
    return {
        image["image_id"]
        for event in events
        for image in event["changed"]
        if image["status"] == "deleted"
    }


async def test_a_photo_whose_file_became_another_one_is_told_with_another_version(
    world: World,
) -> None:
    image_id = await accept(world)
    key = await world.key(Scope.READ)
    await world.tag(image_id, ("cat", 0.5))
    before = await world.image(image_id)
    assert before.tagged_sha256 is not None

    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        await world.pool.execute(
            "UPDATE tagged_images SET sha256 = sha256('other') WHERE image_id = $1", image_id
        )
        async with world.pool.transaction() as tx:
            await changes.note(tx, "image", [image_id])
        told = await heard.until_told("images", lambda event: event["changed"])

    assert told["changed"][0]["version"] == sha256(b"other").hexdigest()[:12]


class CountingDatabase:
    """The database, counting the statements that are made outside of transactions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.asked: list[str] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        async with self._pool.connection() as connection:
            yield Counting(connection, self.asked)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._pool.transaction()


class Counting:
    """A connection that notes what it is asked."""

    def __init__(self, connection: Transaction, asked: list[str]) -> None:
        self._connection, self._asked = connection, asked

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)

        def noted(query: str, *args: Any) -> Any:
            self._asked.append(query)
            return method(query, *args)

        return noted


@pytest.mark.parametrize("topics", [("images",), ("queries",), ("jobs", "labels", "pipeline")])
async def test_two_hundred_listeners_ask_the_database_as_often_as_one(
    world: World, topics: tuple[str, ...]
) -> None:
    asked_for = {}
    for listeners in (1, 200):
        database = CountingDatabase(world.pool)
        poller = poller_of(database, world.deps.pipeline, "http://archive")
        with ExitStack() as stack:
            heard = [
                stack.enter_context(poller.listening(topics, f"owner-{n}"))
                for n in range(listeners)
            ]
            await all_have(heard, len(topics))
            database.asked.clear()
            for _ in range(3):
                await accept(world, owner=None)
                await submit(world, owner=None)
                await next_look(database)
            asked_for[listeners] = Counter(database.asked)

    assert asked_for[1].keys() == asked_for[200].keys()
    assert asked_for[200].total() <= 2 * asked_for[1].total() + 3, asked_for


async def all_have(heard: list[EventListener], topics: int) -> None:
    """Wait until each listener has been sent a snapshot of all topics."""
    async with asyncio.timeout(PATIENCE_S):
        for listener in heard:
            got = 0
            while got < topics:
                await listener.ready.wait()
                got += len(listener.take())


async def next_look(database: CountingDatabase) -> None:
    """Wait until the poller has looked twice more."""
    seen = len(database.asked)
    async with asyncio.timeout(PATIENCE_S):
        while len(database.asked) < seen + 2:
            await asyncio.sleep(0.01)


async def submit(world: World, owner: str | None) -> UUID:
    """Let a query be there."""
    query_id = uuid4()
    async with world.pool.transaction() as tx:
        await queries.accept(
            tx, query_id=query_id, owner=owner, text="cat", callback_url="http://a/", options={}
        )
    return query_id


async def test_a_query_is_told_to_its_owner_as_it_goes_on(world: World) -> None:
    key = await world.key(Scope.QUERY)
    async with listening(world, "/events?topics=queries", key.text) as heard:
        await heard.until("queries")
        query_id = await submit(world, owner="alice")
        await submit(world, owner="bob")
        told = await heard.until_told("queries", lambda event: event["changed"])
        async with world.pool.transaction() as tx:
            await query_deletion.delete(tx, query_id, owner="alice")
            third = await submit(world, owner="alice")
        await heard.until_told(
            "queries", lambda e: str(third) in [one["query_id"] for one in e["changed"]]
        )

    (query,) = told["changed"]
    assert query == {
        "query_id": str(query_id), "status": "accepted", "outcome": None, "state": "waiting",
        "attempts": 0, "next_at": None, "waits_for": None,
    }  # fmt: skip


async def test_a_slow_reader_is_sent_a_snapshot_in_place_of_a_backlog(world: World) -> None:
    key = await world.key(Scope.READ)
    other = await world.key(Scope.READ)
    async with (
        listening(world, "/events?topics=images", key.text) as slow,
        listening(world, "/events?topics=images", other.text) as heard,
    ):
        await slow.until("images")
        slow.reads.clear()
        told: list[str] = []
        for _ in range(6):
            image_id = await accept(world)
            await heard.until_told("images", lambda e, i=image_id: str(i) in ids_of(e))
            told.append(str(image_id))
        slow.reads.set()
        last = await slow.until_told("images", lambda e: e["statuses"]["accepted"] == 6)

    assert (last["truncated"], last["changed"]) == (True, [])
    assert len(slow.of("images")) <= 4, "what was under way, and one in place of all that followed"


async def test_a_revoked_key_ends_the_stream(world: World) -> None:
    key = await world.key(Scope.READ)
    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        await keys.revoke(world.pool, key.key_id)
        world.seconds += 15  # keys are remembered for a few seconds
        async with asyncio.timeout(PATIENCE_S):
            await heard.has_ended.wait()


async def test_a_process_that_stops_lets_its_listeners_go(world: World) -> None:
    key = await world.key(Scope.READ)
    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        world.deps.readiness.is_ready = False
        async with asyncio.timeout(PATIENCE_S):
            await heard.has_ended.wait()


async def test_who_comes_back_after_a_restart_is_sent_a_snapshot_with_a_later_number(
    make_world: MakeWorld,
) -> None:
    before, after = make_world(), make_world()
    key = await before.key(Scope.READ)
    async with listening(before, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        last = heard.events[-1].number or 0
    image_id = await accept(after)

    async with listening(
        after, "/events?topics=images", key.text, last_event_id=str(last)
    ) as heard:
        (snapshot,) = await heard.until("images")

    assert (snapshot["changed"], snapshot["statuses"]["accepted"]) == ([], 1), image_id
    assert (heard.events[-1].number or 0) > last


async def test_a_stream_counts_among_the_waiting_requests(world: World) -> None:
    key = await world.key(Scope.READ)
    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        assert world.deps.guards.places.waiting.held == {key.key_id: 1}
    assert world.deps.guards.places.waiting.held == {}


async def test_an_outage_of_the_database_is_followed_by_snapshots(world: World) -> None:
    key = await world.key(Scope.READ)
    async with listening(world, "/events?topics=images", key.text) as heard:
        await heard.until("images")
        world.pool.is_away = True
        events = len(world.pool.events)
        async with asyncio.timeout(PATIENCE_S):
            while len(world.pool.events) < events + 2:
                await asyncio.sleep(0.01)
        world.pool.is_away = False
        await heard.until("images", 2)

    assert heard.of("images")[-1]["changed"] == []


class BrokenOnce(ImagesTopic):
    """Has a bug, the first time."""

    async def snapshot(
        self, connection: Transaction, viewers: Collection[Viewer], *, is_cut: bool
    ) -> Told:
        if not self._counted:
            self._counted = {None: {}}
            raise RuntimeError("a bug")
        return await super().snapshot(connection, viewers, is_cut=is_cut)


async def test_a_bug_lets_the_listeners_go_and_the_next_ones_are_served(world: World) -> None:
    world.deps.live.change_topics = (BrokenOnce(),)
    key = await world.key(Scope.READ)
    async with listening(world, "/events?topics=images", key.text) as heard:
        async with asyncio.timeout(PATIENCE_S):
            await heard.has_ended.wait()
    async with listening(world, "/events?topics=images", key.text) as again:
        await again.until("images")

    assert heard.of("images") == []


async def test_a_stream_ends_when_it_was_asked_to(world: World) -> None:
    async with world.client(Scope.READ) as http:
        answer = await http.get("/events?topics=images&for=0.3")
        problem_in(await http.get("/events?topics=images&for=601"), "invalid_request")

    assert answer.text.count("event: hello") == 1


async def test_unknown_topics_are_refused_and_any_key_may_listen(world: World) -> None:
    async with world.client(Scope.UPLOAD) as http:
        problem_in(await http.get("/events?topics=images,money"), "invalid_request")
        problem_in(await http.get("/events"), "invalid_request")
    async with world.client() as http:
        problem_in(await http.get("/events?topics=images"), "session_missing")


def ids_of(event: dict[str, list[dict[str, str]]]) -> list[str]:
    return [image["image_id"] for image in event["changed"]]
