"""What people are shown of targets, written beside the lanes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from consumers.delivery.attempts import Tried
from consumers.delivery.metrics import LaneMetrics
from consumers.delivery.pacing import Pacer
from consumers.delivery.reporting import MAX_ROWS, TargetReports
from consumers.delivery.target_pace import PaceLimits, TargetHealth
from core.errors import DatabaseAway
from core.storage.delivery.deliveries import Attempt, Settled
from core.telemetry.metrics import Metrics

TARGET = "https://a.example:443"
NOW = datetime.now(UTC)


@dataclass
class Written:
    """A database that keeps the parameters of each report.

    Attributes:
        meanwhile: is called while a report is under way.
    """

    reports: list[tuple[Any, ...]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        yield self

    transaction = connection

    async def execute(self, statement: str, *arguments: Any) -> None:
        if "INSERT" in statement:
            self.meanwhile()
            self.reports.append(arguments)

    def errors(self) -> list[str | None]:
        return [arguments[10][0] for arguments in self.reports]


def watching(database: Written) -> TargetReports:
    """Return reports of a target that nothing is under way to."""
    pacer, webhook = Pacer(PaceLimits(workers=4, per_target=2)), uuid4()
    pacer.reserve(TARGET, webhook, 0.0, "alice")
    pacer.end(TARGET, webhook, TargetHealth.GOOD, 0.0, 0.0)
    reports = TargetReports(database, "delivery-0", LaneMetrics(Metrics(CollectorRegistry())))
    reports.paced(pacer)
    return reports


def failed(status: int) -> Tried:
    return Tried(Attempt(NOW, 5, status=status), Settled("due", NOW))


async def test_an_attempt_that_ends_while_a_report_is_written_is_in_the_next_one() -> None:
    database = Written()
    reports = watching(database)
    reports.tried(TARGET, failed(500))
    database.meanwhile = lambda: reports.tried(TARGET, failed(503))
    await reports.write()
    database.meanwhile = lambda: None
    await reports.write()
    await reports.write()

    assert database.errors() == ["HTTP 500", "HTTP 503"]


async def test_what_an_outage_kept_from_being_written_is_written_after_it() -> None:
    database = Written()
    reports = watching(database)
    reports.tried(TARGET, failed(500))

    def away() -> None:
        raise DatabaseAway("connection refused")

    database.meanwhile = away
    with pytest.raises(DatabaseAway):
        await reports.write()
    database.meanwhile = lambda: None
    await reports.write()

    assert database.errors() == ["HTTP 500"]


async def test_attempts_that_have_begun_are_told_of_before_one_ends() -> None:
    database = Written()
    reports, pacer = watching(database), Pacer(PaceLimits(workers=4, per_target=8))
    reports.paced(pacer)
    for _ in range(2):
        pacer.reserve(TARGET, uuid4(), 0.0, "alice")
    await reports.write()

    [(_, targets, caps, in_flight, *_)] = database.reports
    assert (targets, caps, in_flight) == ([TARGET], [3], [2])


async def test_a_round_ends_however_many_targets_are_busy() -> None:
    database, pacer = Written(), Pacer(PaceLimits(workers=4, per_target=8))
    reports = watching(database)
    reports.paced(pacer)
    for number in range(2 * MAX_ROWS + 1):
        pacer.reserve(f"https://{number}.example:443", uuid4(), 0.0, "alice")

    assert [await reports.write() for _ in range(3)] == [True, True, False]
