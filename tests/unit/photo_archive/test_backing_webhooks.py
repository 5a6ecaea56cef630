"""Webhooks that were asked for behind a backup: each once, a portion in memory at a time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid5

import pytest

from consumers.upkeep import requested as webhooks
from core.messaging.cloudevents import encode
from schemas.callback import AnswerType, CallbackRequested, callback_id_of
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED, IMAGES_ARRIVED


def asked(number: int) -> CallbackRequested:
    return CallbackRequested(
        query_id=uuid5(UUID(int=1), str(number)),
        type=AnswerType.NO_MATCH,
        url="https://receiver.example/hook",
        text="a boat",
        answered_at=datetime(2026, 11, 30, tzinfo=UTC),
    )


async def log(events: list[CallbackRequested]) -> AsyncIterator[Record]:
    yield Record(IMAGES_ARRIVED.name, None, (), b"{}")
    yield Record(CALLBACKS_REQUESTED.name, None, (), b"damaged")
    for event in events:
        id_ = str(callback_id_of(event.query_id))
        record = encode(
            CALLBACKS_REQUESTED, event, key="k", event_id=id_, source="test", now=event.answered_at
        )
        yield record


async def test_each_is_found_once_and_few_are_held_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "AT_ONCE", 2)
    events = [asked(number) for number in (1, 2, 1, 3, 2, 4, 5, 1)]

    portions = [portion async for portion in webhooks.requested(log(events))]

    assert [len(portion) for portion in portions] == [2, 2, 1]
    found = [event.query_id for portion in portions for _, event in portion.values()]
    assert found == [asked(number).query_id for number in range(1, 6)]
    assert set(portions[0]) == {callback_id_of(asked(number).query_id) for number in (1, 2)}
