"""`min_score`: a sum where there is a text, as a query's option; else one tag's confidence."""

import pytest

from ingress.auth.api_keys import Scope
from tests.integration.ingress.photos.test_finding import ids, scanned
from tests.integration.ingress.photos.test_images import get
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World


async def test_a_sum_over_one_is_asked_of_a_text(world: World) -> None:
    both = await scanned(world, "photos/1.jpg", ("cat", 0.9), ("dog", 0.8))
    await scanned(world, "photos/2.jpg", ("cat", 0.9))

    assert await ids(world, "text=cat and dog&min_score=1.5") == [both]
    assert await ids(world, "text=cat and dog&min_score=1.8") == []
    assert await ids(world, "text=cat and dog&min_score=1000000") == []


async def test_a_kept_filter_takes_the_same_sums(world: World) -> None:
    async with world.client(Scope.READ) as http:
        kept = await http.put(
            "/filters/sure", json={"filter": {"text": "cat and dog", "min_score": 1.5}}
        )
        refused = await http.put("/filters/sure", json={"filter": {"min_score": 1.5}})

    assert kept.status_code == 200, kept.text
    assert problem_in(refused, "invalid_request")["errors"][0]["pointer"] == "/filter/min_score"


@pytest.mark.parametrize("query", ["min_score=1.5", "tag=cat&min_score=1.5"])
async def test_without_a_text_no_tag_is_surer_than_one_and_the_error_says_so(
    world: World, query: str
) -> None:
    response = await get(world, f"/images?{query}")

    document = problem_in(response, "invalid_request")
    assert "without a text" in document["detail"]
    assert "at most 1" in document["detail"]
    assert document["errors"][0]["pointer"] == "min_score"


async def test_a_text_asks_for_no_more_than_a_querys_option_may(world: World) -> None:
    response = await get(world, "/images?text=cat&min_score=1000001")

    assert "1000000" in problem_in(response, "invalid_request")["detail"]
