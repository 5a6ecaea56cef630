"""What tests of the ingress share does not carry from one to the next."""

from ingress.auth.api_keys import Scope
from tests.integration.ingress.world import SharedDatabase, World


async def test_the_shared_database_forgets_default_labels(
    world: World, shared_database: SharedDatabase
) -> None:
    async with world.client(Scope.ADMIN) as http:
        put = await http.put("/labels", json={"labels": [{"name": "cat"}]})

    await shared_database.empty(world.pool)

    async with world.client(Scope.ADMIN) as http:
        shown = (await http.get("/labels")).json()
    assert put.json()["version"] == 1
    assert (shown["version"], shown["labels"]) == (0, [])
