"""What a role may ask of a record that it received."""

import pytest

from core.messaging.role import Received
from schemas.record import Partition, Record


def received(*headers: tuple[str, bytes]) -> Received[None]:
    return Received(None, Partition("t", 3), 7, Record("t", b"key", headers, b""), 0)


@pytest.mark.parametrize("name", ["ce_id", "CE_ID"])
def test_the_event_id_is_the_producers_where_it_sent_one(name: str) -> None:
    assert received((name, b"an id")).event_id == "an id"


def test_a_foreign_event_without_an_id_is_known_by_its_place() -> None:
    assert received(("x", b"1")).event_id == "t/3/7"


def test_the_trace_context_is_the_records_or_none() -> None:
    assert received(("traceparent", b"00-a-b-01")).traceparent == "00-a-b-01"
    assert received().traceparent is None
