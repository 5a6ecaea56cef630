"""`GET /stats/pipeline`, and the roles in `/health`."""

from ingress.auth.api_keys import Scope
from tests.integration.ingress.page.beating import all_roles_beat
from tests.integration.ingress.world import World


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
