"""Looks which of the servers are missing, for the alarms: brokers, and the database's standby."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.messaging.kafka.cluster import ClusterLook
from core.repeating import every
from core.storage import standby
from core.telemetry.metrics import Metrics
from core.transaction import Transaction

INTERVAL_S = 15.0  # as often as Prometheus asks


@dataclass(slots=True)
class ServersWatch:
    """Shows in the metrics of an ingress what `/health` says of the servers.

    Attributes:
        brokers: asks which brokers are there; None: none answers.
        expects_standby: whether there should be one; set once one was seen.
    """

    database: Transaction
    brokers: Callable[[], Awaitable[ClusterLook | None]]
    metrics: Metrics
    expects_standby: bool

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        await every(self.note, INTERVAL_S, stop)

    async def note(self) -> None:
        """Look once.

        Raises:
            TransientError: the database is away; what was seen of it stays.
        """
        found = await self.brokers()
        there, missing = (0, 0) if found is None else (len(found.brokers), len(found.missing))
        self.metrics.kafka_brokers.labels("there").set(there)
        self.metrics.kafka_brokers.labels("missing").set(missing)
        seen = await standby.look(self.database)
        self.expects_standby |= seen.is_there
        if self.expects_standby:
            self.metrics.postgres_standby.labels("follows").set(seen.is_there)
            self.metrics.postgres_standby.labels("waited_for").set(seen.is_waited_for)
