"""What an ingress shows of missing servers, from which alarms are told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.errors import DatabaseAway
from core.messaging.kafka.cluster import ClusterLook
from core.offsets import Identity
from core.telemetry.metrics import Metrics
from ingress.live.servers_watch import ServersWatch


@dataclass
class ScriptedStandby:
    """A database that tells of its standby what it is told to; None: it is away."""

    row: dict[str, bool] | None
    fetchval: Any = field(default=None, init=False)

    async def fetchrow(self, query: str, *args: Any) -> dict[str, bool]:
        del query, args
        if self.row is None:
            raise DatabaseAway("connect")
        return self.row

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        raise NotImplementedError(query, args)

    async def execute(self, query: str, *args: Any) -> str:
        raise NotImplementedError(query, args)

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        raise NotImplementedError(command, args)


@dataclass
class Watched:
    """A watch with what it asks, and what it shows."""

    database: ScriptedStandby
    cluster: ClusterLook | None
    expects_standby: bool = False

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.watch = ServersWatch(
            self.database, self._brokers, Metrics(self.registry), self.expects_standby
        )

    async def _brokers(self) -> ClusterLook | None:
        return self.cluster

    def shown(self, name: str, state: str) -> float | None:
        """Return the value of a gauge; None where it is not served."""
        return self.registry.get_sample_value(f"photo_archive_{name}", {"state": state})


def row(*, is_there: bool, is_waited_for: bool) -> dict[str, bool]:
    return {"is_there": is_there, "is_waited_for": is_waited_for}


def look(*there: int, missing: tuple[int, ...] = ()) -> ClusterLook:
    return ClusterLook(Identity("c", "t"), there, missing)


ALONE = row(is_there=False, is_waited_for=False)
WHOLE = row(is_there=True, is_waited_for=True)


async def test_a_missing_broker_is_counted_and_none_that_answers_is_told_apart() -> None:
    watched = Watched(ScriptedStandby(ALONE), look(1, 3, missing=(2,)))
    assert watched.shown("kafka_brokers", "there") is None

    await watched.watch.note()
    assert watched.shown("kafka_brokers", "there") == 2
    assert watched.shown("kafka_brokers", "missing") == 1

    watched.cluster = None
    await watched.watch.note()
    assert watched.shown("kafka_brokers", "there") == 0
    assert watched.shown("kafka_brokers", "missing") == 0


async def test_a_lost_standby_is_shown_where_there_should_be_one() -> None:
    watched = Watched(ScriptedStandby(ALONE), look(1), expects_standby=True)

    await watched.watch.note()

    assert watched.shown("postgres_standby", "follows") == 0
    assert watched.shown("postgres_standby", "waited_for") == 0


async def test_where_one_host_is_named_a_standby_that_was_seen_is_missed() -> None:
    watched = Watched(ScriptedStandby(ALONE), look(1))
    await watched.watch.note()
    assert watched.shown("postgres_standby", "follows") is None, "none is there and none should be"

    watched.database.row = WHOLE
    await watched.watch.note()
    assert watched.shown("postgres_standby", "follows") == 1
    assert watched.shown("postgres_standby", "waited_for") == 1

    watched.database.row = ALONE
    await watched.watch.note()
    assert watched.shown("postgres_standby", "follows") == 0


async def test_brokers_are_looked_at_while_the_database_is_away() -> None:
    watched = Watched(ScriptedStandby(None), look(1, 2, missing=(3,)))

    with pytest.raises(DatabaseAway):
        await watched.watch.note()

    assert watched.shown("kafka_brokers", "missing") == 1
