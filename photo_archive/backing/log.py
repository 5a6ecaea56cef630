"""Where the groups stand in Kafka's log, and whether it is the log that a backup counts in."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import BrokerAway
from core.messaging.kafka.cluster import identify
from core.messaging.kafka.log_ends import log_bounds
from core.messaging.ports import Bounds
from core.offsets import Standing
from core.settings import KafkaSettings
from photo_archive.backing.records import Stretches
from schemas.record import Partition
from schemas.topics import GROUPS, Topic

LEADERS_S = 30.0  # a broker that has just started has no leaders for some partitions
AGAIN_S = 0.5

Standings = Mapping[tuple[str, Partition], Standing]


@dataclass(frozen=True, slots=True)
class Log:
    """Kafka at one moment.

    Attributes:
        cluster_id: of the cluster.
        topics: the id of each topic that is there.
        bounds: first offset of each log and the one after its last readable record.
    """

    cluster_id: str
    topics: Mapping[str, str]
    bounds: Mapping[Partition, tuple[int, int]]

    def ahead(self, standings: Standings) -> Stretches:
        """Return what of the logs lies ahead of the groups."""
        stretches = {}
        for group, topic in GROUPS.items():
            for partition, (start, end) in self.bounds.items():
                if partition.topic == topic.name:
                    standing = standings.get((group, partition))
                    goes_on = standing.next_offset if standing else start
                    stretches[partition] = (max(start, goes_on), end)
        return stretches

    def unlike(self, standings: Standings, cluster_id: str) -> list[str]:
        """Return why the groups cannot go on here, a sentence each; none where they can.

        Args:
            standings: where the groups stand.
            cluster_id: of the cluster that they read from; empty: it is not known.
        """
        if cluster_id not in {"", self.cluster_id}:
            return [f"it is the cluster {self.cluster_id}, and the backup was made of {cluster_id}"]
        return [
            sentence
            for (_, partition), standing in sorted(standings.items())
            if (sentence := self._unlike(partition, standing))
        ]

    def _unlike(self, partition: Partition, standing: Standing) -> str:
        cluster, topic = standing.identity
        name = f"{partition.topic}, partition {partition.number}"
        if cluster not in {"", self.cluster_id}:
            return f"{name}: the backup stands in the log of the cluster {cluster}"
        if topic not in {"", self.topics.get(partition.topic, "")}:
            return f"{name}: the topic was made anew"
        start, end = self.bounds.get(partition, (0, 0))
        if standing.next_offset < start:
            return (
                f"{name}: the log begins at {start}, and the backup goes on at"
                f" {standing.next_offset}: {start - standing.next_offset} records are gone"
            )
        if standing.next_offset > end:
            return f"{name}: the log ends at {end}, before {standing.next_offset} of the backup"
        return ""


async def look(kafka: KafkaSettings) -> Log:
    """Return Kafka as it is now.

    Raises:
        BrokerAway: no whole answer in time.
    """
    topics, cluster_id = {}, ""
    for topic in GROUPS.values():
        cluster_id, topic_id = await identify(kafka, topic.name)
        if topic_id:
            topics[topic.name] = topic_id
    bounds = {}
    for topic in GROUPS.values():
        if topic.name in topics:
            for number, found in (await _bounds(kafka, topic)).items():
                bounds[Partition(topic.name, number)] = (found.start, found.stable)
    return Log(cluster_id, topics, bounds)


async def _bounds(kafka: KafkaSettings, topic: Topic) -> Mapping[int, Bounds]:
    """Return the bounds of every partition; a broker that has just started is given time."""
    deadline = time.monotonic() + LEADERS_S
    while True:
        try:
            return await log_bounds(kafka, topic)
        except BrokerAway:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(AGAIN_S)
