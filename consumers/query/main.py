"""Composition root of the query consumer: spaCy, PostgreSQL and Kafka meet here."""

import asyncio

from consumers.query.adapters import LabelLanguage, StoredAnswers
from consumers.query.archive import StoredArchive
from consumers.query.metrics import QueryMetrics
from consumers.query.role import QueryRole
from consumers.query.waiting import WaitingRoom
from consumers.runtime import open_runtime, run
from consumers.upkeep.main import open_upkeep
from core.language.lemmatizer import Lemmatizer
from core.messaging.cloudevents import decode
from core.settings import DatabaseSettings, QuerySettings, load
from core.starting import Beginning
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.topics import QUERIES_SUBMITTED

MAX_LABELS = 64  # of one text: each costs a look at all images that have it


async def main(beginning: Beginning) -> None:
    """Answer queries until a signal asks for the end.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    settings = load(QuerySettings)
    lemmatizer = await asyncio.to_thread(Lemmatizer, settings.exceptions)
    stop = await beginning.over()
    async with open_runtime("query", listening=beginning.listening) as runtime:
        labels = LabelLanguage(runtime.pool, lemmatizer, settings.max_chars, MAX_LABELS)
        measuring = QueryMetrics(runtime.metrics, runtime.pool)
        answers = StoredAnswers(runtime.pool, settings.after_timeout_s)
        archive = StoredArchive(
            runtime.pool, load(DatabaseSettings).command_timeout_s, measuring.looked_up
        )
        waiting = WaitingRoom(
            runtime.pool.transaction,
            labels,
            archive,
            answers,
            runtime.outbox,
            measuring.answered,
        )
        role = QueryRole(labels, archive, answers, measuring.answered)
        upkeep = open_upkeep(runtime.pool, runtime.metrics)
        await run(runtime, role, _decoded, stop, [waiting.run, measuring.run, upkeep.run])


def _decoded(record: Record) -> QuerySubmitted:
    return decode(QUERIES_SUBMITTED, record, QuerySubmitted)
