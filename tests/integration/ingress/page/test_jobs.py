"""A directory job: how fast it goes, what failed in it, held and resumed."""

from uuid import UUID, uuid4

from core.storage.archive import images
from core.storage.archive.images import FailedImage
from ingress.auth.api_keys import Scope
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World


async def put(world: World, job_id: UUID, reason: str | None = None) -> UUID:
    """An image of a job, tagged or failed."""
    image_id = uuid4()
    path = f"photos/{image_id}.jpg"
    async with world.pool.transaction() as tx:
        await images.accept(tx, image_id=image_id, uri=f"file:{path}", path=path)
    await world.pool.execute("UPDATE images SET job_id = $2 WHERE image_id = $1", image_id, job_id)
    if reason is None:
        await world.pool.execute(
            "UPDATE images SET status = 'tagged' WHERE image_id = $1", image_id
        )
        return image_id
    failed = FailedImage(image_id, f"file:{path}", path, None, job_id, reason, "why")
    async with world.pool.transaction() as tx:
        await images.record_failures(tx, [failed])
    return image_id


async def test_a_job_tells_how_fast_it_goes_and_when_it_will_be_done(world: World) -> None:
    async with world.client(Scope.PATHS) as http:
        made = await http.post("/tag/directory", json={"directory_path": "photos"})
        job_id = UUID(made.json()["job_id"])
        still = (await http.get(f"/jobs/{job_id}")).json()
        for _ in range(3):
            await put(world, job_id)
        await put(world, job_id, "truncated")
        await world.pool.execute(
            "UPDATE jobs SET created_at = now() - interval '1 hour', state = 'running', total = 10"
        )
        moving = (await http.get(f"/jobs/{job_id}")).json()
        held = (await http.post(f"/jobs/{job_id}/pause")).json()
        resumed = (await http.post(f"/jobs/{job_id}/resume")).json()

    assert (still["rate_per_s"], still["eta_s"]) == (0.0, None)
    assert moving["rate_per_s"] == round(4 / 60, 2)
    assert moving["eta_s"] == 6 * 15.0
    assert (held["state"], held["eta_s"]) == ("paused", None)
    assert resumed["state"] == "waiting"


async def test_what_failed_in_a_job_is_listed_with_reasons_and_counts(world: World) -> None:
    async with world.client(Scope.PATHS) as http, world.client(Scope.PATHS, owner="bob") as bob:
        made = await http.post("/tag/directory", json={"directory_path": "photos"})
        job_id = UUID(made.json()["job_id"])
        failed = [await put(world, job_id, reason) for reason in ("truncated", "x", "truncated")]
        await put(world, job_id)
        first = (await http.get(f"/jobs/{job_id}/failures", params={"limit": "2"})).json()
        rest = (await http.get(f"/jobs/{job_id}/failures", params={"cursor": first["next"]})).json()
        for path in ("failures", "pause", "resume"):
            ask = bob.get if path == "failures" else bob.post
            problem_in(await ask(f"/jobs/{job_id}/{path}"), "job_not_found")

    seen = [UUID(one["image_id"]) for one in (*first["failures"], *rest["failures"])]
    assert seen == failed[::-1]
    assert first["reasons"] == {"truncated": 2, "x": 1}
    assert first["failures"][0]["reason"] == "truncated"
    assert first["failures"][0]["detail"] == "why"
    assert rest["next"] is None
