"""Choice of ports."""

import pytest

from standalone.failures import PortTaken
from standalone.ports import HIGHEST_PORT, PORTS_TRIED, PortPlan, choose_port


def test_a_free_port_is_taken_as_wanted() -> None:
    assert choose_port(19092, free=lambda port: True) == 19092


def test_the_search_walks_upward_past_taken_and_reserved_ports() -> None:
    taken = {19092, 19093}
    assert choose_port(19092, avoid={19094}, free=lambda port: port not in taken) == 19095


def test_the_search_never_enters_the_range_of_source_ports() -> None:
    tried: list[int] = []

    def never_free(port: int) -> bool:
        tried.append(port)
        return False

    with pytest.raises(PortTaken, match=f"from {HIGHEST_PORT - 3} to {HIGHEST_PORT}"):
        choose_port(HIGHEST_PORT - 3, free=never_free)
    assert tried == list(range(HIGHEST_PORT - 3, HIGHEST_PORT + 1))


def test_the_search_ends() -> None:
    tried: list[int] = []
    with pytest.raises(PortTaken):
        choose_port(20000, free=lambda port: bool(tried.append(port)))  # type: ignore[func-returns-value]  # append gives None: never free
    assert len(tried) == PORTS_TRIED


def test_no_port_of_an_archive_is_given_twice() -> None:
    plan = PortPlan()
    wanted = 31_000
    given = [plan.choose(wanted) for _ in range(3)]
    assert len(set(given)) == 3
    assert min(given) >= wanted
