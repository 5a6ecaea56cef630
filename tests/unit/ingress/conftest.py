"""A world of fakes per test."""

import pytest

from tests.fakes.ingress import World, make_world


@pytest.fixture
def world() -> World:
    return make_world()
