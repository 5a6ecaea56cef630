"""Which cluster this is, which of its brokers are there, and which incarnation a topic has.

A topic that was deleted and made anew has the same name, other records and another id. aiokafka
0.14 speaks Metadata up to version 5 and ids came with version 10, so the request is written here.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from core.messaging.kafka.connection import login_options, on_broker, translated
from core.offsets import Identity
from core.settings import KafkaSettings

API_METADATA = 3
VERSION = 12  # Kafka 2.8.1 and newer
_REPLICAS = 4  # of a partition in the answer


class _Uuid(AbstractType[bytes]):
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_TEXT = CompactString("utf-8")


class _MetadataResponse(Response):
    API_KEY = API_METADATA
    API_VERSION = VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("rack", _TEXT),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataStruct(RequestStruct):
    API_KEY = API_METADATA
    API_VERSION = VERSION
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = API_METADATA

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class([(bytes(16), self._topic, {})], False, False, {})


@dataclass(frozen=True, slots=True)
class ClusterLook:
    """What a broker said of its cluster.

    Attributes:
        identity: who the cluster and the topic are.
        brokers: the ids of those that are there.
        missing: the ids of those that have copies of the topic's records and are away.
    """

    identity: Identity
    brokers: tuple[int, ...]
    missing: tuple[int, ...]

    def describe(self) -> str:
        """Return how many brokers there are, and which are away."""
        if not self.missing:
            return f"brokers: {len(self.brokers)}"
        away = ", ".join(map(str, self.missing))
        return (
            f"brokers: {len(self.brokers)} of {len(self.brokers) + len(self.missing)}, away: {away}"
        )


async def identify(settings: KafkaSettings, topic: str, *, timeout_s: float = 15.0) -> Identity:
    """Return the cluster's id and the id of the topic with this logical name.

    Raises:
        BrokerAway: no answer in time.
    """
    return (await look_at(settings, topic, timeout_s=timeout_s)).identity


async def look_at(settings: KafkaSettings, topic: str, *, timeout_s: float = 15.0) -> ClusterLook:
    """Return how the cluster is, as one of its brokers sees it.

    Raises:
        BrokerAway: no answer in time.
    """
    request = _MetadataRequest(on_broker(settings, topic))
    addresses = collect_hosts(settings.bootstrap_servers)
    asking = [partial(_ask_at, settings, address, request) for address in addresses]
    with translated("identify cluster"):
        async with asyncio.timeout(timeout_s):
            response = await _first_answer(asking, timeout_s)
    topics = response.topics or [(0, topic, bytes(16), False, [])]
    topic_id, partitions = topics[0][2], topics[0][4]
    there = {broker[0] for broker in response.brokers}
    holders = {node for partition in partitions for node in partition[_REPLICAS]}
    identity = Identity(
        response.cluster_id or "", str(UUID(bytes=topic_id)) if any(topic_id) else ""
    )
    return ClusterLook(identity, tuple(sorted(there)), tuple(sorted(holders - there)))


async def _ask_at(
    settings: KafkaSettings, address: tuple[str, int, Any], request: Request[_MetadataStruct]
) -> Any:
    """Return the answer of the broker at this address.

    Over a connection of its own: a client of aiokafka 0.14 opens one at a time, so one broker that
    hangs holds up the others that it knows.
    """
    host, port, _ = address
    connection = await create_conn(
        host, port, client_id="photo-archive-identity", **login_options(settings)
    )
    try:
        answer = await connection.send(request)
    finally:
        closed = connection.close()
    await closed
    return answer


async def _first_answer(
    asking: Sequence[Callable[[], Coroutine[Any, Any, Any]]], timeout_s: float
) -> Any:
    """Return the first answer; who was not asked yet is when the others fail or take too long.

    A broker that hangs takes connections and says nothing, which would use up all of the time. The
    shares are such that the last one that is asked has two of them.

    Raises:
        Exception: that of the last one that failed, when all have.
    """
    waiting, share_s = random.sample(asking, len(asking)), timeout_s / (len(asking) + 1)
    asked: set[asyncio.Task[Any]] = set()
    try:
        while True:
            if waiting:
                asked.add(asyncio.create_task(waiting.pop()()))
            done, asked = await asyncio.wait(
                asked,
                timeout=share_s if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            answered = [one for one in done if not one.cancelled() and one.exception() is None]
            if answered:
                return answered[0].result()
            if not asked and not waiting:
                return done.pop().result()
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
