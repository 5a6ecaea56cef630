"""A pool on a fresh database, and an archive whose images are numbered."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.connecting import TimeLimits
from core.storage.pool import Pool, open_pool
from tests.integration.tagging.archive import Archive


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    settings = DatabaseSettings(url=SecretStr(database_url), pool_size=10, command_timeout_s=60)
    async with open_pool(settings, limits=TimeLimits(lock_s=30)) as opened:
        yield opened


@pytest.fixture
async def archive(pool: Pool) -> Archive:
    made = Archive(pool)
    await made.define(*["cat", "dog", "car", "beach", "city", "food", "party", "sport"])
    return made
