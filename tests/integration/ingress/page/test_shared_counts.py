"""What people see of an archive that they share: folders, and counts that others change."""

import asyncio

from core.storage.finding.duplicates import Level
from ingress.auth.api_keys import Scope
from ingress.reading.alike import AlikeFinder, FoundGroups
from tests.integration.ingress.page.test_duplicates import ALL, put, put_choice, same_photo
from tests.integration.ingress.world import World

_FOREIGN = """
INSERT INTO images (image_id, uri, path, status, open_to_all)
SELECT gen_random_uuid(), 'file:photos/a' || n, 'photos/a' || to_char(n, 'FM0000') || '/x.jpg',
       'accepted', false
FROM generate_series(1, $1) AS n
"""


async def test_an_owner_finds_folders_behind_thousands_of_others(world: World) -> None:
    await world.pool.execute(_FOREIGN, 2500)
    await put(world, "mine/deep/x.jpg", "mine")
    await put(world, "open/x.jpg", "open", owner=None)

    async with world.client(Scope.READ) as http:
        found = [(await http.get("/folders", params={"under": one})).json()["folders"]
                 for one in ("photos", "photos/mine", "")]  # fmt: skip

    assert [[one["folder"] for one in some] for some in found] == [
        ["photos/mine", "photos/open"], ["photos/mine/deep"], ["photos"],
    ]  # fmt: skip
    assert found[2][0]["images"] == 2


class CountedFinder(AlikeFinder):
    """Notes what is read."""

    pages: list[tuple[Level, str | None]]

    async def page(
        self, level: Level, *, owner: str | None, cursor: str, limit: int
    ) -> FoundGroups:
        """Note it."""
        self.pages.append((level, owner))
        return await super().page(level, owner=owner, cursor=cursor, limit=limit)


def finder(world: World) -> CountedFinder:
    """That of another process."""
    made = CountedFinder(world.pool, asyncio.Lock())
    made.pages = []
    return made


async def test_a_decision_is_in_the_counts_of_every_process_and_owner(world: World) -> None:
    one, two = await same_photo(world)
    other = finder(world)
    assert [(await other.totals(owner)).groups["same_photo"] for owner in ("alice", None)] == [1, 1]

    async with world.client(*ALL) as http:
        pair = "~".join(sorted(map(str, (one, two))))
        await put_choice(http, pair, "both")
        decided = [(await other.totals(owner)).groups["same_photo"] for owner in ("alice", None)]
        assert (await http.delete(f"/duplicates/{pair}")).status_code == 200

    assert decided == [0, 0]
    assert (await other.totals(None)).groups["same_photo"] == 1


async def test_those_who_ask_at_once_share_one_count(world: World) -> None:
    await same_photo(world)
    counting = finder(world)

    await asyncio.gather(*(counting.totals("alice") for _ in range(5)))
    await counting.totals("alice")

    assert len(counting.pages) == len({level for level, _ in counting.pages}) == 3
