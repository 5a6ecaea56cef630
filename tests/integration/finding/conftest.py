"""A pool on a fresh database."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.pool import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    settings = DatabaseSettings(url=SecretStr(database_url), pool_size=8, command_timeout_s=60)
    async with open_pool(settings) as opened:
        yield opened
