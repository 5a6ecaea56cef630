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

#: Target and answer of each webhook, by its id on the wire.
Requested = dict[UUID, tuple[str, CallbackRequested]]


async def requested(found: AsyncIterator[Unread]) -> Requested:
    """Return the webhooks that these records ask for; others are left out."""
    webhooks: Requested = {}
    async for one in found:
        if one.record.topic != CALLBACKS_REQUESTED.name:
            continue
        try:
            record = in_binary_mode(one.record)
            event = decode(CALLBACKS_REQUESTED, record, CallbackRequested)
            target = lane_of(event.url)
        except PermanentError:  # a dead letter, as its role will find
            continue
        webhooks.setdefault(_id(record.header("ce_id"), event), (target, event))
    return webhooks


def _id(given: str | None, event: CallbackRequested) -> UUID:
    try:
        return UUID(given)
    except (TypeError, ValueError):  # a foreign producer: one answer, one id
        return callback_id_of(event.query_id)
