"""A query role on a real database, without Kafka."""

from collections.abc import AsyncIterator
from functools import cache

import pytest
from pydantic import SecretStr

from consumers.query.adapters import LabelLanguage, StoredAnswers
from consumers.query.archive import StoredArchive
from consumers.query.main import MAX_LABELS
from consumers.query.role import QueryRole
from core.language.lemmatizer import Lemmatizer
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DatabaseSettings, QuerySettings
from core.storage import labels
from core.storage.pool import Pool, open_pool

AFTER_TIMEOUT_S = 600.0  # tests do not wait for it but move the deadline


@cache
def lemmatizer() -> Lemmatizer:
    return Lemmatizer()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A database with the default labels."""
    async with open_pool(DatabaseSettings(url=SecretStr(database_url), pool_size=12)) as opened:
        async with opened.transaction() as tx:
            await labels.define_if_absent(tx, DEFAULT_LABELS)
        yield opened


@pytest.fixture
def answers(pool: Pool) -> StoredAnswers:
    return StoredAnswers(pool, AFTER_TIMEOUT_S)


@pytest.fixture
def role(pool: Pool, answers: StoredAnswers) -> QueryRole:
    settings = QuerySettings(_env_file=None)
    language = LabelLanguage(pool, lemmatizer(), settings.max_chars, MAX_LABELS)
    return QueryRole(language, StoredArchive(pool, 10), answers)
