"""Pass queries to the role as the loop does."""

from collections.abc import Sequence
from itertools import count
from uuid import uuid4

from consumers.best_images import BestImages
from consumers.query.role import QueryRole
from core.messaging.role import Received
from core.storage.pool import Pool
from schemas.callback import CallbackRequested
from schemas.query import QuerySubmitted
from schemas.record import Partition, Record
from schemas.topics import QUERIES_SUBMITTED
from tests.integration.relevance.archive import store, tagged

_OFFSETS = count()


def received(text: str, **options: object) -> Received[QuerySubmitted]:
    event = QuerySubmitted.model_validate(
        {
            "text": text,
            "callback_url": "https://hooks.example/in",
            "query_id": uuid4(),
            "owner": options.pop("owner", None),
            "options": options,
        }
    )
    return Received(
        event=event,
        partition=Partition(QUERIES_SUBMITTED.name, 0),
        offset=next(_OFFSETS),
        record=Record(QUERIES_SUBMITTED.name, None, (), b""),
        timestamp_ms=0,
    )


async def answers_to(
    role: QueryRole, pool: Pool, batch: Sequence[Received[QuerySubmitted]]
) -> list[CallbackRequested]:
    """Return the answers of a batch in its order; queries that wait are absent."""
    items = await role.prepare(batch)
    async with pool.transaction() as tx:
        outcome = await role.apply(items, tx)
    for tell in outcome.notices:
        tell()
    return [CallbackRequested.model_validate_json(record.value) for record in outcome.emitted]


async def ask(role: QueryRole, pool: Pool, text: str, **options: object) -> CallbackRequested:
    (answer,) = await answers_to(role, pool, [received(text, **options)])
    return answer


async def tag(pool: Pool, number: int, **scores: float) -> None:
    """Store an image's tags; `Victory_Day` stands for `Victory Day`."""
    named = {name.replace("_", " "): round(score * 1e6) for name, score in scores.items()}
    await store(pool, BestImages(is_softmax=True), [tagged(number, named)])
