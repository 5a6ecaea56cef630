"""The learning rate."""

from training.fit import PEAK_RATE, rate_at


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    rates = [rate_at(epoch / 10, 60) for epoch in range(601)]

    assert rates[0] == 0
    assert max(rates) == PEAK_RATE
    assert rates[300] == PEAK_RATE
    assert rates[-1] == 0
    falling = rates[430:]
    assert falling == sorted(falling, reverse=True)


def test_a_prolonged_run_goes_on_at_the_plateau() -> None:
    assert rate_at(40, 60) == rate_at(40, 100) == PEAK_RATE
