"""The schedule: due times, jitter, Retry-After, and the consequence of each outcome."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import TargetForbidden, TargetUnreachable
from core.settings import DeliverySettings
from core.webhooks.schedule import (
    Attempts,
    Delivered,
    GivenUp,
    Retry,
    RetrySchedule,
    outcome_name,
    parse_retry_after,
)
from tests.fakes.poster import PlainAnswer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DEFAULT = RetrySchedule.from_settings(DeliverySettings())
STEADY = RetrySchedule(delays_s=(0, 5, 30), jitter=0.0)
FIRST = Attempts(made=1, created_at=NOW)
SEEDS = st.integers(0, 2**32)

# Valid and invalid values of receivers.
RETRY_AFTER = st.one_of(
    st.integers(-(10**6), 10**12).map(str),
    st.datetimes(timezones=st.just(UTC)).map(format_datetime),
    st.text(max_size=30),
)


def seconds_from_now(at: datetime) -> float:
    return (at - NOW).total_seconds()


def test_the_default_schedule_is_the_promised_one() -> None:
    assert RetrySchedule((0, 5, 30, 120, 600, 3600, 21600, 86400), jitter=0.2) == DEFAULT


@given(made=st.integers(1, 7), seed=SEEDS)
def test_each_delay_is_within_its_jitter(made: int, seed: int) -> None:
    at = DEFAULT.next_at(Attempts(made, NOW), NOW, Random(seed))

    assert at is not None
    delay = DEFAULT.delays_s[made]
    assert 0.8 * delay - 1e-6 <= seconds_from_now(at) <= 1.2 * delay + 1e-6


@given(seed=SEEDS)
def test_a_delivery_that_always_fails_ends_after_all_attempts_within_the_window(seed: int) -> None:
    rng, made = Random(seed), 0
    now = NOW  # the first attempt is due at once
    while True:
        made += 1
        verdict = DEFAULT.verdict(PlainAnswer(500), attempts=Attempts(made, NOW), now=now, rng=rng)
        if isinstance(verdict, GivenUp):
            break
        assert isinstance(verdict, Retry)
        assert verdict.at >= now
        now = verdict.at

    assert made == 8
    assert verdict == GivenUp("attempts_exhausted", "http_5xx")
    assert seconds_from_now(now) <= DEFAULT.window_s + 1e-3


@given(value=RETRY_AFTER, made=st.integers(1, 7), elapsed_s=st.floats(0, 100_000), seed=SEEDS)
def test_no_retry_after_makes_an_attempt_early_or_later_than_the_window(
    value: str, made: int, elapsed_s: float, seed: int
) -> None:
    attempts = Attempts(made, NOW - timedelta(seconds=elapsed_s))
    answer = PlainAnswer(429, {"retry-after": value})
    scheduled = DEFAULT.next_at(attempts, NOW, Random(seed))
    assert scheduled is not None

    verdict = DEFAULT.verdict(answer, attempts=attempts, now=NOW, rng=Random(seed))

    assert isinstance(verdict, Retry)
    window_end = attempts.created_at + timedelta(seconds=DEFAULT.window_s)
    assert scheduled <= verdict.at <= max(scheduled, window_end)
    wish_s = parse_retry_after(value, NOW)
    if wish_s is not None:
        assert verdict.at >= min(NOW + timedelta(seconds=wish_s), window_end)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_delivers(status: int) -> None:
    answer = PlainAnswer(status, {"webhook-delivery": "abort-message"})
    assert STEADY.verdict(answer, attempts=FIRST, now=NOW, rng=Random(1)) == Delivered()


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (PlainAnswer(301), "http_3xx"),
        (PlainAnswer(304), "http_3xx"),
        (PlainAnswer(400), "http_4xx"),
        (PlainAnswer(404), "http_4xx"),
        (PlainAnswer(408), "http_4xx"),
        (PlainAnswer(429), "http_429"),
        (PlainAnswer(500), "http_5xx"),
        (PlainAnswer(599), "http_5xx"),
        (PlainAnswer(199), "http_odd"),
        (PlainAnswer(999), "http_odd"),
        (TargetUnreachable("x", kind="timeout"), "timeout"),
        (TargetUnreachable("x", kind="dns"), "dns"),
    ],
)
def test_a_failure_is_tried_again_by_the_schedule_until_it_is_used_up(
    outcome: PlainAnswer | TargetUnreachable, name: str
) -> None:
    def verdict(made: int) -> object:
        return STEADY.verdict(outcome, attempts=Attempts(made, NOW), now=NOW, rng=Random(1))

    assert verdict(1) == Retry(NOW + timedelta(seconds=5), name)
    assert verdict(2) == Retry(NOW + timedelta(seconds=30), name)
    assert verdict(3) == GivenUp("attempts_exhausted", name)
    assert outcome_name(outcome) == name


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (PlainAnswer(410), GivenUp("gone", "http_410")),
        (
            PlainAnswer(500, {"webhook-delivery": "Abort-Message "}),
            GivenUp("aborted", "http_5xx"),
        ),
        (TargetForbidden("10.0.0.1"), GivenUp("target_forbidden", "target_forbidden")),
    ],
)
def test_some_outcomes_end_it_at_once(
    outcome: PlainAnswer | TargetForbidden, verdict: GivenUp
) -> None:
    assert STEADY.verdict(outcome, attempts=FIRST, now=NOW, rng=Random(1)) == verdict


@pytest.mark.parametrize(("made", "after_s"), [(1, 0), (2, 30)])
def test_a_first_attempt_on_a_kept_connection_that_ended_is_followed_at_once_and_counts(
    made: int, after_s: float
) -> None:
    closed = TargetUnreachable("closed", kind="reset")
    closed.on_kept = True

    verdict = STEADY.verdict(closed, attempts=Attempts(made, NOW), now=NOW, rng=Random(1))

    assert verdict == Retry(NOW + timedelta(seconds=after_s), "reset", charged=True)


def test_a_failure_of_our_own_side_is_not_charged_and_ends_with_the_window() -> None:
    away = TargetUnreachable("resolver", kind="dns", infra=True)
    used_up = Attempts(made=3, created_at=NOW)

    inside = STEADY.verdict(away, attempts=used_up, now=NOW + timedelta(seconds=34), rng=Random(1))
    after = STEADY.verdict(away, attempts=used_up, now=NOW + timedelta(seconds=35), rng=Random(1))

    assert inside == Retry(NOW + timedelta(seconds=64), "dns", charged=False)
    assert after == GivenUp("attempts_exhausted", "dns")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT", 120.0),
        ("Sat, 21 Nov 2026 12:02:00 -0000", 120.0),
        ("Saturday, 21-Nov-26 12:02:00 GMT", 120.0),
        ("2678400", 2678400.0),
        ("2678401", None),
        ("9" * 400, None),
        ("0", None),
        ("-5", None),
        ("20.5", 20.5),
        ("20, 30", 30.0),
        ("30,20.5", 30.0),
        ("20, Sat, 21 Nov 2026 12:02:00 GMT", 120.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT, 20", 120.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT, Saturday, 21-Nov-26 12:03:00 GMT", 180.0),
        ("0, 20", 20.0),
        ("1.", None),
        (".5", None),
        ("1.2.3", None),
        ("1e3", None),
        ("١٢٠", None),
        ("", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 11:59:00 GMT", None),
        ("Sat, 21 Nov 9999 11:59:00 GMT", None),
        ("Sat, 99 Nov 2026 11:59:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_no_text_in_retry_after_is_an_error(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 < seconds <= 31 * 86400


@pytest.mark.parametrize("exchange_s", [0.6, 1, 30, 120])
def test_an_exchange_never_outlasts_its_lease(exchange_s: float) -> None:
    settings = DeliverySettings(exchange_timeout_s=exchange_s)

    assert settings.lease_s >= 1.25 * settings.exchange_timeout_s
