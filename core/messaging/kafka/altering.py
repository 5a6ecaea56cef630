"""Single settings of existing topics, altered without touching the others.

aiokafka 0.14 speaks `AlterConfigs` alone, which sets back whatever it does not name: an operator's
retention, say. So the request of KIP-339 is written here.
"""

from collections.abc import Mapping
from typing import TypeAlias

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

API_INCREMENTAL_ALTER_CONFIGS = 44  # Kafka 2.3 and newer
_TOPIC, _SET = 2, 0  # the kind of resource, and what is done with a setting
_TEXT = String("utf-8")

#: Topic by its name on the broker -> setting -> value.
Wanted: TypeAlias = Mapping[str, Mapping[str, str]]


class _AlterResponse(Response):
    API_KEY = API_INCREMENTAL_ALTER_CONFIGS
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("resource_type", Int8),
                ("resource_name", _TEXT),
            ),
        ),
    )


class _AlterStruct(RequestStruct):
    API_KEY = API_INCREMENTAL_ALTER_CONFIGS
    API_VERSION = 0
    RESPONSE_TYPE = _AlterResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", _TEXT),
                (
                    "configs",
                    Array(("config_name", _TEXT), ("operation", Int8), ("config_value", _TEXT)),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _AlterRequest(Request[_AlterStruct]):
    API_KEY = API_INCREMENTAL_ALTER_CONFIGS

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def build(self, request_struct_class: type[_AlterStruct]) -> _AlterStruct:
        resources = [
            (_TOPIC, topic, [(name, _SET, value) for name, value in settings.items()])
            for topic, settings in self._wanted.items()
        ]
        return request_struct_class(resources, False)


async def alter(client: AIOKafkaClient, wanted: Wanted) -> dict[str, str]:
    """Set these settings; return the topics where the broker refused, with its reason.

    Raises:
        KafkaError: no answer.
    """
    if not wanted:
        return {}
    response = await client.send(client.get_random_node(), _AlterRequest(wanted))
    return {
        topic: f"{for_code(code).__name__}: {message}"
        for code, message, _, topic in response.resources
        if code
    }
