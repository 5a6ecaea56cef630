"""Which cluster this is, and which incarnation of a topic it has.

A topic that was deleted and made anew has the same name, other records and another id. aiokafka
0.14 speaks Metadata up to version 5 and ids came with version 10, so the request is written here.
"""

import asyncio
from io import BytesIO
from uuid import UUID

from aiokafka.client import AIOKafkaClient
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

from core.messaging.kafka.connection import client_options, on_broker, translated
from core.offsets import Identity
from core.settings import KafkaSettings

API_METADATA = 3
VERSION = 12  # Kafka 2.8.1 and newer


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


async def identify(settings: KafkaSettings, topic: str, *, timeout_s: float = 15.0) -> Identity:
    """Return the cluster's id and the id of the topic with this logical name.

    Raises:
        BrokerAway: no answer in time.
    """
    with translated("identify cluster"):
        async with asyncio.timeout(timeout_s):
            client = AIOKafkaClient(**client_options(settings, client_id="photo-archive-identity"))
            try:
                await client.bootstrap()
                node = client.get_random_node()
                response = await client.send(node, _MetadataRequest(on_broker(settings, topic)))
            finally:
                await client.close()
    topics = response.topics or [(0, topic, bytes(16))]
    topic_id = topics[0][2]
    return Identity(response.cluster_id or "", str(UUID(bytes=topic_id)) if any(topic_id) else "")
