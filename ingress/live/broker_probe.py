"""Which brokers are there, as `/health` and the tokens of uploads are told."""

import time
from dataclasses import dataclass

from core.errors import BrokerAway
from core.messaging.kafka.cluster import ClusterLook, look_at
from core.settings import KafkaSettings
from schemas.topics import IMAGES_ARRIVED

IDENTIFY_TIMEOUT_S = 2.0
#: A broker that is only slow is not away: what it said last holds for so long.
KEPT_S = 15.0
BROKER_TTL_S = 5.0  # time for which `/health` caches the broker's state


@dataclass(slots=True)
class BrokerProbe:
    """Asks for the cluster's id and its brokers; remembers for a while what was answered."""

    settings: KafkaSettings
    _heard: tuple[float, ClusterLook | None] = (float("-inf"), None)
    _answered_at: float = float("-inf")

    async def brokers(self) -> ClusterLook | None:
        """Return which brokers are there; None where none answers."""
        if time.monotonic() - self._heard[0] > BROKER_TTL_S:
            self._heard = (time.monotonic(), await self._look_again())
        return self._heard[1]

    async def _look_again(self) -> ClusterLook | None:
        try:
            found = await look_at(self.settings, IMAGES_ARRIVED.name, timeout_s=IDENTIFY_TIMEOUT_S)
        except BrokerAway as error:
            is_slow = isinstance(error.__cause__, TimeoutError)
            is_fresh = time.monotonic() - self._answered_at < KEPT_S
            return self._heard[1] if is_slow and is_fresh else None
        self._answered_at = time.monotonic()
        return found

    async def cluster_id(self) -> str | None:
        """Return the cluster's id; None while no broker answers."""
        found = await self._look()
        return None if found is None else found.identity.cluster_id

    async def _look(self) -> ClusterLook | None:
        try:
            return await look_at(self.settings, IMAGES_ARRIVED.name, timeout_s=IDENTIFY_TIMEOUT_S)
        except BrokerAway:
            return None
