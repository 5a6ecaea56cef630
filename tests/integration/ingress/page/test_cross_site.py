"""With somebody's cookie another site can do nothing, on any route, those of tomorrow included."""

import re
from typing import Any

import httpx
import pytest

from ingress.app import DESCRIBED
from ingress.auth.access import HEADER
from ingress.auth.api_keys import Scope
from ingress.auth.cross_site import SAFE
from ingress.auth.sessions import LOOPBACK_COOKIE, TOKEN_HEADER
from ingress.operations import Operation
from tests.integration.ingress.page.signing_in import LOOPBACK, SECURE, browser, signed_in
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World

SOME_ID = "0b9f5f4e-27f2-4d35-9a5c-6d3d8c1b0a11"
UNSAFE = [one for one in DESCRIBED if one.method not in SAFE]
FOR_HOLDERS = [one for one in UNSAFE if one.needs_key]
#: Unsafe and without a key; each with the reason why no cookie is looked at.
FOR_ALL = {
    ("POST", "/session"),  # signs in; refuses other pages by itself
    ("POST", "/inbox/{token}"),  # what webhooks come to; its address is the right
}
TOKEN = object()  # stands for the session's own
#: What a browser, or a page that it shows, says of itself.
ATTACKS: dict[str, dict[str, Any]] = {
    "another origin, of an old browser": {"Origin": "https://evil.example", TOKEN_HEADER: TOKEN},
    "another port here, of an old browser": {"Origin": "http://127.0.0.1:9", TOKEN_HEADER: TOKEN},
    "an origin that is kept secret": {"Origin": "null", TOKEN_HEADER: TOKEN},
    "another site": {
        "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example", TOKEN_HEADER: TOKEN
    },
    "another site with our origin": {
        "Sec-Fetch-Site": "cross-site", "Origin": LOOPBACK, TOKEN_HEADER: TOKEN
    },
    "the same site at another port": {"Sec-Fetch-Site": "same-site", TOKEN_HEADER: TOKEN},
    "the address line": {"Sec-Fetch-Site": "none", TOKEN_HEADER: TOKEN},
    "nothing said": {TOKEN_HEADER: TOKEN},
    "no token": {"Sec-Fetch-Site": "same-origin"},
    "an empty token": {"Sec-Fetch-Site": "same-origin", TOKEN_HEADER: ""},
    "a token of nobody": {"Sec-Fetch-Site": "same-origin", TOKEN_HEADER: "x" * 43},
}  # fmt: skip


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def url_of(operation: Operation) -> str:
    path = re.sub(r"\{\w+_id\}", SOME_ID, operation.path)
    return re.sub(r"\{[^}]+\}", "1", path)


async def sent(
    http: httpx.AsyncClient, operation: Operation, headers: dict[str, Any]
) -> httpx.Response:
    """The answer to a request with the cookie, and with these headers alone beside it."""
    own = str(http.headers.get(TOKEN_HEADER))
    said = {name: own if value is TOKEN else value for name, value in headers.items()}
    cookie = f"{LOOPBACK_COOKIE}={http.cookies[LOOPBACK_COOKIE]}"
    async with httpx.AsyncClient(transport=http._transport, base_url=LOOPBACK) as bare:
        return await bare.request(
            operation.method,
            url_of(operation),
            headers={"Cookie": cookie, "Content-Type": "application/json", **said},
            content=b"{}",
        )


def test_there_is_something_to_attack() -> None:
    assert len(FOR_HOLDERS) > 15
    assert {(one.method, one.path) for one in UNSAFE if not one.needs_key} == FOR_ALL


@pytest.mark.parametrize("operation", FOR_HOLDERS, ids=name_of)
async def test_another_site_does_nothing_with_a_cookie(world: World, operation: Operation) -> None:
    key = await world.key(*Scope)
    async with signed_in(world, key) as http:
        world.pool.forget()
        for name, headers in ATTACKS.items():
            answer = await sent(http, operation, headers)
            assert answer.status_code == 403, name
            problem_in(answer, "cross_site")
        assert world.pool.commits == 0
        assert [one for one in world.pool.statements if "SELECT" not in one] == []

        own = await sent(http, operation, {"Sec-Fetch-Site": "same-origin", TOKEN_HEADER: TOKEN})

    assert own.status_code != 401
    assert own.status_code < 500
    assert own.headers.get("content-type") != "application/problem+json" or (
        own.json()["code"] not in {"cross_site", "scope_missing"}
    )


@pytest.mark.parametrize("operation", FOR_HOLDERS, ids=name_of)
async def test_clients_with_a_key_need_nothing_else(world: World, operation: Operation) -> None:
    key = await world.key(*Scope)
    async with world.client() as http:
        for said in ({}, {"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}):
            answer = await http.request(
                operation.method, url_of(operation), headers={HEADER: key.text, **said}
            )

            assert answer.status_code not in {401, 403}, answer.text


async def test_one_sessions_token_is_not_anothers(world: World) -> None:
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as one, signed_in(world, key) as other:
        one.headers[TOKEN_HEADER] = other.headers[TOKEN_HEADER]

        problem_in(await one.post("/session/link"), "cross_site")


@pytest.mark.parametrize("origin", [LOOPBACK, "HTTP://127.0.0.1:8080"])
async def test_the_own_origin_will_do_for_browsers_that_say_no_more(
    world: World, origin: str
) -> None:
    async with signed_in(world, await world.key(Scope.READ)) as http:
        del http.headers["Sec-Fetch-Site"]
        made = await http.post("/session/link", headers={"Origin": origin})

    assert made.status_code == 200


async def test_behind_a_proxy_the_public_address_is_the_own_origin(make_world: MakeWorld) -> None:
    world = make_world(base_url=SECURE)
    async with signed_in(world, await world.key(Scope.READ), SECURE) as http:
        del http.headers["Sec-Fetch-Site"]
        answer = await http.post(
            "http://10.0.0.5:8080/session/link",
            headers={
                "Origin": SECURE,
                "Cookie": f"__Host-session={http.cookies['__Host-session']}",
            },
        )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_nobody_is_signed_in_by_another_site(world: World, said: dict[str, str]) -> None:
    key = await world.key(Scope.READ)
    async with browser(world) as http:
        answer = await http.post("/session", json={"key": key.text}, headers=said)

    problem_in(answer, "cross_site")
    assert "set-cookie" not in answer.headers
    assert await world.count("sessions") == 0


async def test_programs_that_say_nothing_may_sign_in(world: World) -> None:
    key = await world.key(Scope.READ)
    async with browser(world) as http:
        del http.headers["Sec-Fetch-Site"]
        assert (await http.post("/session", json={"key": key.text})).status_code == 200


async def test_pages_elsewhere_never_get_to_use_a_cookie(make_world: MakeWorld) -> None:
    world = make_world(cors_origins="https://page.example")
    async with signed_in(world, await world.key(Scope.READ)) as http:
        answer = await http.get("/images", headers={"Origin": "https://page.example"})
        asked = await http.options(
            "/images",
            headers={
                "Origin": "https://page.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": TOKEN_HEADER.lower(),
            },
        )

    assert "access-control-allow-credentials" not in answer.headers
    assert asked.status_code == 400  # the header is not one that pages elsewhere may send
