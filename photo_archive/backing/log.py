"""Where the groups stand in Kafka's log, and whether it is the log that a backup counts in."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.messaging.kafka.cluster import identify
from core.messaging.kafka.outside import LogBounds
from core.offsets import Identity, Standing
from core.settings import KafkaSettings
from photo_archive.backing.records import Stretches
from schemas.record import Partition
from schemas.topics import GROUPS

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
        BrokerAway: no answer in time.
    """
    names = [topic.name for topic in GROUPS.values()]
    found: dict[str, Identity] = {name: await identify(kafka, name) for name in names}
    topics = {name: identity.topic_id for name, identity in found.items() if identity.topic_id}
    asking = LogBounds(kafka, client_id="photo-archive-backup")
    try:
        bounds = await asking.of(sorted(topics)) if topics else {}
    finally:
        await asking.close()
    cluster_id = found[names[0]].cluster_id
    return Log(cluster_id, topics, bounds)
