"""The learning rate."""

from training.fit import PEAK_RATE, rate_at


def test_the_rate_rises_stays_and_falls_to_nearly_nothing() -> None:
    rates = [rate_at(step, 200) for step in range(200)]

    assert rates[0] < PEAK_RATE / 5
    assert max(rates) == PEAK_RATE
    assert rates[60] == PEAK_RATE
    falling = rates[100:]
    assert falling == sorted(falling, reverse=True)
    assert rates[-1] < PEAK_RATE / 50
