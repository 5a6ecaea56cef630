"""A receiver that behaves badly, and a guarded client that may reach it."""

from collections.abc import AsyncIterator

import pytest

from core.egress.client import GuardedClient
from tests.fakes.receiver import HostileReceiver
from tests.integration.egress.calling import client_to


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncIterator[HostileReceiver]:
    async with HostileReceiver() as receiver:
        yield receiver


@pytest.fixture(name="client")
async def _client() -> AsyncIterator[GuardedClient]:
    async with client_to() as client:
        yield client
