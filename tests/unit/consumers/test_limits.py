"""Limits that are checked against each other when a role starts."""

from typing import Any

import pytest

from consumers.runtime import check_limits
from core.errors import ConfigurationError
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings


def check(**values: Any) -> None:
    def of(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}

    check_limits(
        DatabaseSettings(**of("database_")),
        KafkaSettings(**of("kafka_")),
        ConsumerSettings(**of("consumer_")),
    )


def test_the_defaults_agree() -> None:
    check()


@pytest.mark.parametrize(
    ("variable", "value", "other"),
    [
        ("kafka_heartbeat_interval_ms", 3_334, "KAFKA_SESSION_TIMEOUT_MS"),
        ("consumer_drain_timeout_s", 60.0, "KAFKA_REBALANCE_TIMEOUT_MS"),
        ("kafka_publish_timeout_s", 20.0, "DATABASE_TRANSACTION_TIMEOUT_S"),
        ("consumer_crash_isolate_after", 6, "CONSUMER_CRASH_REJECT_AFTER"),
    ],
)
def test_two_limits_that_contradict_each_other_are_both_named(
    variable: str, value: float, other: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(**{variable: value})

    assert variable.upper() in str(caught.value)
    assert other in str(caught.value)


def test_every_contradiction_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(kafka_heartbeat_interval_ms=9000, consumer_crash_isolate_after=6)

    assert str(caught.value).count("must be") == 2
