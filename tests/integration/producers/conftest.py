"""What the tests of the producers share."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.pool import Pool, open_pool
from tests.fakes.publisher import MemoryPublisher


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


@pytest.fixture
def kafka() -> MemoryPublisher:
    return MemoryPublisher()
