"""A pool on a fresh database."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.pool import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool as the processes have it."""
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened
