"""What surrounds every request, and what answers where no route does."""

import json
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from core.storage.stream import heartbeats
from core.telemetry.vitals import Vitals
from ingress.app import DESCRIBED, create_app
from ingress.auth.api_keys import Scope
from ingress.http.problems import KINDS
from schemas.topics import EVENT_TOPICS, plan_topics
from tests.integration.ingress.page.beating import all_roles_beat
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World


async def get(world: World, path: str, **headers: str) -> httpx.Response:
    async with world.client() as http:
        return await http.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_an_unknown_path_is_a_problem(world: World) -> None:
    assert "/nothing" in problem_in(await get(world, "/nothing"), "not_found")["detail"]


@pytest.mark.parametrize("path", ["/images/", "/docs/", "//evil.example/images/", "/livez/"])
async def test_nobody_is_sent_where_a_host_header_says(world: World, path: str) -> None:
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [(b"host", b"evil.example")], "client": ("10.0.0.1", 1),
        "server": ("archive", 80), "scheme": "http", "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await world.app(scope, receive, send)

    assert sent[0]["status"] == 404
    assert b"location" not in dict(sent[0]["headers"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/images/upload", "POST"),
        ("DELETE", "/images/tags", "POST"),
        ("PUT", "/tag/image", "POST"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    world: World, method: str, path: str, allowed: str
) -> None:
    async with world.client() as http:
        response = await http.request(method, path)

    problem_in(response, "method_not_allowed")
    assert response.headers["allow"] == allowed


async def test_a_bug_is_a_500_that_tells_nothing_and_can_be_found(world: World) -> None:
    def explode() -> datetime:
        raise ZeroDivisionError("secret of the house")

    world.app = create_app(replace(world.deps, now=explode))  # a bug, planted
    async with world.client(Scope.READ) as http:
        response = await http.get("/stats")

    problem_in(response, "internal_error")
    assert "secret" not in response.text


async def test_every_response_carries_an_id_and_the_security_headers(world: World) -> None:
    for path in ("/nothing", "/livez", "/openapi.json", "/images"):
        response = await get(world, path)
        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers


async def test_a_clients_own_request_id_is_kept_if_it_is_harmless(world: World) -> None:
    kept = await get(world, "/livez", x_request_id="order-7")
    made = await get(world, "/livez", x_request_id="a b\tc")

    assert kept.headers["x-request-id"] == "order-7"
    assert made.headers["x-request-id"] != "a b\tc"


async def test_requests_are_counted_by_route_and_never_by_path(world: World) -> None:
    async with world.client(Scope.READ) as http:
        await http.get("/images/0b9f5f4e-27f2-4d35-9a5c-6d3d8c1b0a11")
    await get(world, "/nothing/at/all")

    text = (await get(world, "/metrics")).text

    samples = {
        (sample.labels["route"], sample.labels["status"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "photo_archive_http_requests_total"
    }
    assert samples == {("/images/{image_id}", "404"), ("other", "404")}


async def test_health_names_every_part_and_the_model(world: World) -> None:
    await all_roles_beat(world.pool)

    document = (await get(world, "/health")).json()

    assert document["status"] == "ok"
    assert document["model"] == "demo"
    assert document["version"] == "1.2.3"
    assert {check["status"] for check in document["checks"].values()} == {"ok"}


async def test_health_names_the_model_that_tagging_has_really_loaded(world: World) -> None:
    assert (await get(world, "/health")).json()["loaded_models"] == []
    tagging = Vitals(
        "tagging", about={"model": "ViT-B-32/openai@0123456789abcdef", "lane": "fresh"}
    )
    await heartbeats.beat(world.pool, "tagging-0", [tagging.beat()])

    document = (await get(world, "/health")).json()

    (loaded,) = document["loaded_models"]
    assert (document["model"], loaded["model"]) == ("demo", "ViT-B-32/openai@0123456789abcdef")
    world.pool.is_away = True
    assert (await get(world, "/health")).json()["loaded_models"] == []


async def test_without_the_broker_it_is_degraded_and_still_ready(world: World) -> None:
    world.broker.is_away = True

    health = await get(world, "/health")

    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert (await get(world, "/readyz")).status_code == 200


async def test_without_the_database_it_is_not_ready_and_still_alive(world: World) -> None:
    world.pool.is_away = True

    health = await get(world, "/health")

    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    assert (await get(world, "/readyz")).status_code == 503
    assert (await get(world, "/livez")).status_code == 200


async def test_from_the_first_signal_on_it_is_not_ready(world: World) -> None:
    world.deps.readiness.is_ready = False

    assert (await get(world, "/readyz")).status_code == 503
    assert (await get(world, "/health")).status_code == 503
    assert (await get(world, "/livez")).status_code == 200


async def test_openapi_is_valid_and_names_every_operation(world: World) -> None:
    document = (await get(world, "/openapi.json")).json()

    OpenAPIV31SpecValidator(document).validate()
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == {(one.method, one.path) for one in DESCRIBED}
    assert document["servers"] == [{"url": "http://archive"}]


async def test_openapi_shows_examples_that_its_own_models_take(world: World) -> None:
    document = (await get(world, "/openapi.json")).json()

    for operation in DESCRIBED:
        if operation.body is None:
            continue
        schema = document["components"]["schemas"][operation.body.__name__]
        assert schema["additionalProperties"] is False
        assert schema["examples"]
        for example in schema["examples"]:
            operation.body.model_validate(example)


async def test_openapi_names_the_problems_of_an_operation(world: World) -> None:
    document = (await get(world, "/openapi.json")).json()

    responses = document["paths"]["/images/tags"]["post"]["responses"]

    assert {"202", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"} <= set(
        responses
    )
    assert "callback_forbidden" in responses["422"]["description"]
    assert "application/problem+json" in responses["422"]["content"]


async def test_operation_ids_do_not_repeat(world: World) -> None:
    document = (await get(world, "/openapi.json")).json()

    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]

    assert len(ids) == len(set(ids))


async def test_asyncapi_names_every_topic_with_its_model(world: World) -> None:
    document = (await get(world, "/asyncapi.json")).json()

    assert document["asyncapi"] == "3.0.0"
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {plan.name for plan in plan_topics()}
    for topic in EVENT_TOPICS:
        message = document["components"]["messages"][topic.name.replace(".", "_")]
        assert message["payload"]["$ref"].endswith(topic.model.__name__)
        assert message["headers"]["properties"]["ce_type"]["const"] == topic.event_type


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
async def test_every_reference_in_a_document_leads_somewhere(world: World, path: str) -> None:
    document = (await get(world, path)).json()

    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))

    assert references
    for reference in references:
        found = document
        for part in reference.split("/"):
            found = found[part]


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
async def test_pages_load_nothing_from_elsewhere(world: World, path: str) -> None:
    page = await get(world, path)

    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert (await get(world, link)).status_code == 200
    assert "<script>" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_swagger_ui_is_version_5_and_asks_no_validator_on_the_internet(world: World) -> None:
    bundle = await get(world, "/docs/swagger-ui-bundle.js")
    script = await get(world, "/docs/docs.js")

    assert bundle.headers["content-type"].startswith("text/javascript")
    assert len(bundle.content) > 1_000_000
    assert "isOAS31" in bundle.text  # 4.x, in the other package, draws nothing for 3.1
    assert "validatorUrl: null" in script.text


async def test_every_kind_of_problem_has_its_place_on_the_page(world: World) -> None:
    page = (await get(world, "/docs/problems")).text

    for kind in KINDS:
        assert f'id="{kind.code}"' in page


async def test_over_tls_browsers_are_told_to_stay_there(make_world: MakeWorld) -> None:
    world = make_world(ssl_certfile="server.pem")

    assert "max-age" in (await get(world, "/livez")).headers["strict-transport-security"]


PAGE = "https://page.example"
ASKED = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "x-api-key,content-type,idempotency-key",
}


async def test_a_page_elsewhere_may_use_the_api_where_the_operator_says_so(
    make_world: MakeWorld,
) -> None:
    world = make_world(cors_origins=f"{PAGE},https://other.example")
    async with world.client() as http:
        asked = await http.options("/images/tags", headers=ASKED)
        refused = await http.options("/images/tags", headers=ASKED | {"Origin": "https://evil"})
        answer = await http.get("/queries", headers={"Origin": PAGE})

    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert "X-API-Key" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers
    assert "access-control-allow-origin" not in refused.headers
    problem_in(answer, "key_missing")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


async def test_no_page_elsewhere_may_use_it_by_default(world: World) -> None:
    async with world.client() as http:
        asked = await http.options("/images/tags", headers=ASKED)
        answer = await http.get("/queries", headers={"Origin": PAGE})

    problem_in(asked, "method_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
