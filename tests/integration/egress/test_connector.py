"""The connector alone: it guards connections even if the URL was not checked before."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from core.egress.addresses import parse_networks
from core.egress.answering import RequestTrace, trace_of_request
from core.egress.connector import GuardedConnector
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import TargetForbidden
from tests.fakes.receiver import HostileReceiver
from tests.fakes.resolver import ScriptedResolver


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncIterator[HostileReceiver]:
    async with HostileReceiver() as receiver:
        yield receiver


@asynccontextmanager
async def session_with(policy: TargetPolicy) -> AsyncIterator[aiohttp.ClientSession]:
    connector = GuardedConnector(
        TargetGuard(policy, ScriptedResolver({"name.example": [("127.0.0.1",)]})),
        ssl_context=ssl.create_default_context(),
        per_host=8,
        max_open=8,
        max_age_s=60,
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def test_no_socket_is_opened_to_a_forbidden_literal(receiver: HostileReceiver) -> None:
    trace = RequestTrace("127.0.0.1")
    token = trace_of_request.set(trace)
    async with session_with(TargetPolicy()) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(receiver.url("/ok"))
    trace_of_request.reset(token)

    assert isinstance(trace.forbidden, TargetForbidden)
    assert receiver.connections == 0


async def test_no_socket_is_opened_for_a_name_with_a_forbidden_address(
    receiver: HostileReceiver,
) -> None:
    token = trace_of_request.set(RequestTrace("name.example"))
    async with session_with(TargetPolicy()) as session:
        with pytest.raises(TargetForbidden):
            await session.get(receiver.url("/ok", host="name.example"))
    trace_of_request.reset(token)

    assert receiver.connections == 0


async def test_a_request_that_nobody_announced_is_not_sent(receiver: HostileReceiver) -> None:
    allowing = TargetPolicy(allowed_networks=parse_networks(["127.0.0.1"]))
    async with session_with(allowing) as session:
        with pytest.raises(LookupError):
            await session.get(receiver.url("/ok"))

    assert receiver.connections == 0


async def test_a_kept_connection_is_judged_again_for_its_new_request(
    receiver: HostileReceiver,
) -> None:
    # Connections are pooled by name; if two policies ever share one, the peer check still holds.
    policy = TargetPolicy(allowed_hosts=frozenset({"127.0.0.1"}))
    async with session_with(policy) as session:
        token = trace_of_request.set(RequestTrace("127.0.0.1"))
        async with session.get(receiver.url("/ok")) as response:
            await response.read()
        trace_of_request.reset(token)

        token = trace_of_request.set(RequestTrace("other.example"))
        with pytest.raises(TargetForbidden):
            await session.get(receiver.url("/ok"))
        trace_of_request.reset(token)

    assert len(receiver.requests) == 1
