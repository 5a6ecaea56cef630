"""The webhooks that were asked for in the log behind a backup, or a forgetful server's rows."""

from collections.abc import AsyncIterator
from uuid import UUID

from core.egress.urls import lane_of
from core.errors import PermanentError
from core.messaging.cloudevents import decode
from core.messaging.formats.structured import in_binary_mode
from schemas.callback import CallbackRequested, callback_id_of
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED

#: Webhooks that are held in memory at a time: a week's may be a million.
AT_ONCE = 500
#: Target and answer of each webhook, by its id on the wire.
Requested = dict[UUID, tuple[str, CallbackRequested]]


async def requested(records: AsyncIterator[Record]) -> AsyncIterator[Requested]:
    """Yield the webhooks that these records ask for, some at a time, each once; skip others."""
    seen: set[UUID] = set()
    portion: Requested = {}
    async for found in records:
        if (asked := _asked(found)) is None or asked[0] in seen:
            continue
        webhook, target, event = asked
        seen.add(webhook)
        portion[webhook] = target, event
        if len(portion) == AT_ONCE:
            yield portion
            portion = {}
    if portion:
        yield portion


def _asked(found: Record) -> tuple[UUID, str, CallbackRequested] | None:
    if found.topic != CALLBACKS_REQUESTED.name:
        return None
    try:
        record = in_binary_mode(found)
        event = decode(CALLBACKS_REQUESTED, record, CallbackRequested)
        return _id(record.header("ce_id"), event), lane_of(event.url), event
    except PermanentError:  # a dead letter, as its role will find
        return None


def _id(given: str | None, event: CallbackRequested) -> UUID:
    try:
        return UUID(given)
    except (TypeError, ValueError):  # a foreign producer: one answer, one id
        return callback_id_of(event.query_id)
