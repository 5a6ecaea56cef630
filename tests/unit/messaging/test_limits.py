"""Limits that only work together: each is possible alone."""

from core.messaging.kafka.consumer import HEARTBEATS_PER_SESSION
from core.messaging.limits import CLIENT_LIMITS, LOOP_LIMITS
from core.settings import ConsumerSettings
from core.storage.connecting import TIME_LIMITS


def test_two_heartbeats_may_get_lost_without_the_session_ending() -> None:
    assert HEARTBEATS_PER_SESSION >= 3


def test_a_member_has_drained_before_kafka_gives_its_partitions_away() -> None:
    bounds = ConsumerSettings.model_fields["drain_timeout_s"].metadata
    longest_s = next(bound.lt for bound in bounds if hasattr(bound, "lt"))

    assert longest_s * 1000 <= CLIENT_LIMITS.rebalance_timeout_ms


def test_publishing_ends_before_the_transaction_that_the_sweeper_does_it_in() -> None:
    assert CLIENT_LIMITS.publish_timeout_s < TIME_LIMITS.transaction_s


def test_a_batch_fails_here_before_postgresql_ends_its_transaction() -> None:
    assert LOOP_LIMITS.transaction_deadline_s < TIME_LIMITS.transaction_s


def test_records_go_one_by_one_before_one_of_them_is_blamed() -> None:
    assert LOOP_LIMITS.crash_isolate_after <= LOOP_LIMITS.crash_reject_after


def test_a_batch_of_the_size_that_the_operator_asks_for_fits_into_the_queue() -> None:
    assert LOOP_LIMITS.with_room_for(64) == LOOP_LIMITS
    assert LOOP_LIMITS.with_room_for(1000).queue_max_records == 4000
