"""Calls of a guarded client to a receiver on this machine."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from core.egress.addresses import parse_networks
from core.egress.client import (
    EgressLimits,
    GuardedClient,
)
from core.egress.exchange import Exchange
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import TargetUnreachable
from tests.fakes.resolver import ScriptedResolver

HOST = "hooks.example"
ANY_PORT = (range(1, 65536),)
LOOPBACK = parse_networks(["127.0.0.1"])
HEADERS = {"content-type": "application/json"}

Answers = Mapping[str, Sequence[Sequence[str]]]


@asynccontextmanager
async def client_to(
    answers: Answers | None = None,
    *,
    policy: TargetPolicy | None = None,
    limits: EgressLimits | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[GuardedClient]:
    default = TargetPolicy(
        schemes=frozenset({"http", "https"}), ports=ANY_PORT, allowed_networks=LOOPBACK
    )
    resolver = ScriptedResolver(answers or {HOST: [("127.0.0.1",)]})
    guard = TargetGuard(policy or default, resolver)
    async with GuardedClient(guard, limits, ssl_context) as client:
        yield client


async def post(
    client: GuardedClient,
    url: str,
    *,
    content: bytes = b"{}",
    timeout_s: float = 10.0,
    body_s: float = 2.0,
) -> Exchange:
    return await client.post(
        url, content=content, headers=HEADERS, timeout_s=timeout_s, body_s=body_s
    )


async def failure(client: GuardedClient, url: str, timeout_s: float = 10.0) -> TargetUnreachable:
    with pytest.raises(TargetUnreachable) as caught:
        await post(client, url, timeout_s=timeout_s)
    return caught.value
