"""The outbox as requests use it: its bound, and what names a row that waits."""

from random import Random

import pytest

from core.errors import DatabaseAway
from core.messaging.outbox import OutboxPublisher
from core.offsets import OutboxRow
from ingress.departures import COUNT_TTL_S, Departures
from ingress.http.problems import Problem
from schemas.record import Record
from schemas.token import Token
from tests.fakes.messaging import MemoryPublisher
from tests.simulation.clock import virtual
from tests.simulation.database import SimDatabase
from tests.simulation.ports import Connection, SimOutbox
from tests.simulation.wire import Wire

MAX_ROWS = 3


class Desk:
    def __init__(self) -> None:
        self.time = 0.0
        self.connection = Connection(SimDatabase(), Wire(Random(1), DatabaseAway))
        self.broker = MemoryPublisher()
        outbox = OutboxPublisher(self.connection, SimOutbox(), self.broker, lambda: self.time)
        self.departures = Departures(outbox, MAX_ROWS, lambda: self.time, cluster="c")

    async def accept(self) -> tuple[OutboxRow, Token]:
        """As a request: look for room, commit an event, publish it."""
        await self.departures.check_room()
        async with self.connection.transaction() as tx:
            [row] = await self.departures.outbox.add(tx, [Record("t", None, (), b"")])
        [token] = await self.departures.send([row])
        return row, token


@virtual
async def test_while_the_broker_is_away_a_second_of_requests_does_not_pass_the_bound() -> None:
    desk = Desk()
    desk.broker.away = 1
    for _ in range(MAX_ROWS + 1):  # the first one finds out; its row is counted at the next look
        row, token = await desk.accept()
        assert token == Token("c", outbox_id=row.id)

    with pytest.raises(Problem) as refused:
        await desk.accept()

    assert (refused.value.kind.status, refused.value.kind.code) == (503, "overloaded")


@virtual
async def test_rows_are_counted_anew_every_second_and_room_is_room_again() -> None:
    desk = Desk()
    rows = []
    desk.broker.away = MAX_ROWS
    for _ in range(MAX_ROWS):
        rows.append((await desk.accept())[0])
        desk.time += 10.0
    with pytest.raises(Problem):
        await desk.accept()

    async with desk.connection.connection() as connection:
        await SimOutbox().delete(connection, [row.id for row in rows])
    with pytest.raises(Problem):
        await desk.accept()  # not counted once per request
    desk.time += 1.1 * COUNT_TTL_S
    _, token = await desk.accept()

    assert token == Token("c", "t", 0, 0)
