"""Signing in as a browser does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from ingress.auth.api_keys import MadeKey, Scope
from ingress.auth.sessions import TOKEN_HEADER
from tests.integration.ingress.world import World

LOOPBACK = "http://127.0.0.1:8080"
SECURE = "https://archive.example"
#: What a browser says of a request that the page itself sends.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def browser(world: World, address: str = LOOPBACK) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, which keeps cookies."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(world.app), base_url=address, headers=OWN_PAGE
    ) as http:
        yield http


@asynccontextmanager
async def signed_in(
    world: World, key: MadeKey, address: str = LOOPBACK
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a session, and with the token that goes with it."""
    async with browser(world, address) as http:
        begun = await http.post("/session", json={"key": key.text})
        assert begun.status_code == 200, begun.text
        http.headers[TOKEN_HEADER] = begun.json()["token"]
        yield http


@asynccontextmanager
async def page_of(world: World, *scopes: Scope) -> AsyncIterator[httpx.AsyncClient]:
    """A page that is signed in with a new key of these scopes."""
    async with signed_in(world, await world.key(*scopes)) as http:
        yield http
