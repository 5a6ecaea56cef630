"""Fixtures of the tests of the producers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.pool import Pool, open_pool
from tests.fakes.publisher import MemoryPublisher
from tests.integration.producers.watched import Watched
from tests.integration.site import Site, make_site


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


@pytest.fixture
def kafka() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
async def site(
    kafka_bootstrap: str, topics_prefix: str, database_url: str, pool: Pool, tmp_path: Path
) -> Site:
    return await make_site(kafka_bootstrap, topics_prefix, database_url, pool, tmp_path)


@pytest.fixture
def root(tmp_path: Path, pool: Pool, kafka: MemoryPublisher) -> Watched:
    (tmp_path / "root").mkdir()
    return Watched(tmp_path / "root", pool, kafka)
