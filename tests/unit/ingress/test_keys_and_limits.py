"""How keys are written, and the limits of what one client may ask for."""

from contextlib import ExitStack, suppress

import pytest

from ingress.auth.api_keys import digest_of, key_id_of, make_key
from ingress.http.idling import IdleConnections, name_of_address
from ingress.http.limits import RateLimit, SharedBudget
from ingress.http.problems import Problem


def test_a_made_key_has_its_id_and_digest_inside() -> None:
    made = make_key()

    assert key_id_of(made.text) == made.key_id
    assert digest_of(made.text) == made.digest
    assert len(made.text) == len("pa_") + 8 + 1 + 43 + 1 + 6


def test_two_keys_differ() -> None:
    assert len({make_key().text for _ in range(100)}) == 100


@pytest.mark.parametrize("index", [3, 15, 40, -1])
def test_one_changed_character_makes_it_no_key(index: int) -> None:
    text = list(make_key().text)
    text[index] = "a" if text[index] != "a" else "b"

    assert key_id_of("".join(text)) is None


def test_a_bucket_fills_up_to_its_size_and_no_further() -> None:
    now = 0.0
    limit = RateLimit(10, 3, lambda: now)
    now = 1000.0
    for _ in range(3):
        limit.take("a")

    with pytest.raises(Problem) as caught:
        limit.take("a")

    assert caught.value.extra.headers["Retry-After"] == "1"


def test_buckets_are_forgotten_beyond_a_number() -> None:
    limit = RateLimit(1, 1, lambda: 0.0)
    for number in range(10_050):
        limit.take(str(number))

    assert len(limit.buckets) == 10_000


def test_a_reservation_is_given_back_also_by_an_error() -> None:
    budget = SharedBudget(10)
    with pytest.raises(ValueError, match="x"), budget.reserved(10, "a"):
        raise ValueError("x")

    assert (budget.used, budget.held) == (0, {})


def test_a_key_holds_its_share_and_its_first_body_whatever_the_size() -> None:
    budget = SharedBudget(100)
    with budget.reserved(50, "large"), budget.reserved(20, "small"):
        for name in ("large", "small"):
            with (
                pytest.raises(Problem, match="a key may hold 25") as caught,
                budget.reserved(6, name),
            ):
                pass
            assert caught.value.kind.code == "rate_limited"
        with budget.reserved(5, "small"), budget.reserved(25, "other"):
            assert budget.used == 100
            with pytest.raises(Problem, match="0 are free") as full, budget.reserved(1, "new"):
                pass
            assert full.value.kind.code == "overloaded"

    assert (budget.used, budget.held) == (0, {})


def test_several_greedy_keys_do_not_take_all_of_it() -> None:
    budget = SharedBudget(1000)
    with ExitStack() as held:
        for number in range(5):
            with suppress(Problem):
                while True:
                    held.enter_context(budget.reserved(1, f"greedy {number}"))

        assert max(budget.held.values()) == 250
        for _ in range(30):
            held.enter_context(budget.reserved(1, "new"))


def test_what_an_address_without_a_key_holds_is_told_as_such() -> None:
    budget = SharedBudget(4, "connections", retry_s=3)
    with (
        budget.reserved(1, "address:10.0.0.1"),
        pytest.raises(Problem, match="an address without a key may hold 1") as caught,
        budget.reserved(1, "address:10.0.0.1"),
    ):
        pass

    assert caught.value.kind.status == 429
    assert caught.value.extra.headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("10.0.0.1", "address:10.0.0.1"),
        ("2001:db8::1", "address:2001:db8::/64"),
        ("2001:db8::ffff:2", "address:2001:db8::/64"),
        ("2001:db8:0:1::1", "address:2001:db8:0:1::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
        ("::ffff:10.0.0.1", "address:10.0.0.1"),
        ("what:ever", "address:what:ever"),
        ("", "address:"),
    ],
)
def test_all_addresses_of_an_ipv6_network_are_one_client(host: str, name: str) -> None:
    assert name_of_address(host) == name


def test_the_greediest_loses_the_connection_that_idles_longest() -> None:
    idle: IdleConnections[int] = IdleConnections()
    for number in range(10):
        idle.add(number, "greedy" if number else "modest")

    assert idle.longest() == 1
    assert idle.longest("modest") == 0
    idle.add(1, "greedy")  # used again: now it idles for the shortest time
    assert idle.longest() == 2
    for number in range(10):
        idle.remove(number)
    assert idle.longest() is None
