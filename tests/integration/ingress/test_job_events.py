"""A job as server-sent events."""

import asyncio
import json
from uuid import UUID

from ingress.auth.api_keys import Scope
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World


async def test_a_job_is_told_until_its_images_are_settled(world: World) -> None:
    async with world.client(Scope.PATHS) as http:
        made = await http.post("/tag/directory", json={"directory_path": "photos"})
        job_id = UUID(made.json()["job_id"])
        await world.pool.execute("UPDATE jobs SET state = 'done' WHERE job_id = $1", job_id)

        async with asyncio.timeout(5):
            response = await http.get(f"/jobs/{job_id}", headers={"accept": "text/event-stream"})

    assert response.headers["content-type"].startswith("text/event-stream")
    (line,) = [line for line in response.text.splitlines() if line.startswith("data: ")]
    assert json.loads(line.removeprefix("data: "))["state"] == "done"


async def test_events_of_another_owners_job_are_a_404(world: World) -> None:
    async with world.client(Scope.PATHS) as http:
        made = await http.post("/tag/directory", json={"directory_path": "photos"})
    async with world.client(Scope.PATHS, owner="bob") as http:
        response = await http.get(
            f"/jobs/{made.json()['job_id']}", headers={"accept": "text/event-stream"}
        )

    problem_in(response, "job_not_found")
