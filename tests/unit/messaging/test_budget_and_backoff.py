"""The dead-letter budget and the delays between tries."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from core.messaging.budget import DeadLetterBudget
from core.messaging.session import Backoff
from schemas.record import Partition

P0, P1 = Partition("t", 0), Partition("t", 1)


@given(outcomes=st.lists(st.booleans(), max_size=120), window=st.integers(2, 30))
def test_the_budget_is_over_exactly_when_too_many_of_the_last_records_were_dead(
    outcomes: list[bool], window: int
) -> None:
    budget = DeadLetterBudget(window=window, max_share=0.5)

    for index, dead in enumerate(outcomes):
        over = budget.note(P0, dead=dead)
        last = outcomes[max(0, index + 1 - window) : index + 1]
        assert over == (dead and sum(last) > window // 2)
        assert budget.is_untouched == (not any(last))


def test_partitions_have_budgets_of_their_own() -> None:
    budget = DeadLetterBudget(window=4, max_share=0.5)
    for _ in range(2):
        assert not budget.note(P0, dead=True)
        assert not budget.note(P1, dead=True)

    assert budget.note(P0, dead=True)
    budget.forget(P0)
    assert not budget.note(P0, dead=True)
    assert budget.note(P1, dead=True)


@given(failures=st.integers(-3, 10_000), seed=st.integers())
def test_delays_are_positive_and_bounded_whatever_the_count(failures: int, seed: int) -> None:
    backoff = Backoff(first_s=0.2, longest_s=10.0, jitter=0.2)

    delay = backoff.delay_s(failures, Random(seed))

    assert 0.2 * 0.8 <= delay <= 10.0


def test_delays_double_until_the_longest() -> None:
    backoff = Backoff(first_s=1.0, longest_s=8.0, jitter=0.0)

    assert [backoff.delay_s(n, Random(0)) for n in range(1, 7)] == [1, 2, 4, 8, 8, 8]
