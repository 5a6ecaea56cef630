"""A pool on a fresh database, with room for several writers."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.connecting import TimeLimits
from core.storage.pool import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    settings = DatabaseSettings(url=SecretStr(database_url), pool_size=16, command_timeout_s=60)
    async with open_pool(settings, limits=TimeLimits(lock_s=30)) as opened:
        yield opened
