"""The webhooks that were asked for behind a backup: a restored archive sends them again."""

from collections.abc import AsyncIterator
from uuid import UUID

from core.egress.targets import lane_of
from core.errors import PermanentError
from core.messaging.cloudevents import decode
from core.messaging.formats.structured import in_binary_mode
from photo_archive.backing.records import Unread
from schemas.callback import CallbackRequested, callback_id_of
from schemas.topics import CALLBACKS_REQUESTED

#: Webhooks that are held in memory at a time: a week's may be a million.
AT_ONCE = 500
#: Target and answer of each webhook, by its id on the wire.
Requested = dict[UUID, tuple[str, CallbackRequested]]


async def requested(found: AsyncIterator[Unread]) -> AsyncIterator[Requested]:
    """Yield the webhooks that these records ask for, some at a time, each once; skip others."""
    seen: set[UUID] = set()
    portion: Requested = {}
    async for one in found:
        if (asked := _asked(one)) is None or asked[0] in seen:
            continue
        webhook, target, event = asked
        seen.add(webhook)
        portion[webhook] = target, event
        if len(portion) == AT_ONCE:
            yield portion
            portion = {}
    if portion:
        yield portion


def _asked(one: Unread) -> tuple[UUID, str, CallbackRequested] | None:
    if one.record.topic != CALLBACKS_REQUESTED.name:
        return None
    try:
        record = in_binary_mode(one.record)
        event = decode(CALLBACKS_REQUESTED, record, CallbackRequested)
        return _id(record.header("ce_id"), event), lane_of(event.url), event
    except PermanentError:  # a dead letter, as its role will find
        return None


def _id(given: str | None, event: CallbackRequested) -> UUID:
    try:
        return UUID(given)
    except (TypeError, ValueError):  # a foreign producer: one answer, one id
        return callback_id_of(event.query_id)
