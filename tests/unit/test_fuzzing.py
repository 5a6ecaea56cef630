"""A short, seeded run of the byte mutators; `python -m tests.fuzzing` runs for any time."""

import warnings

import pytest

from tests.examples import examples
from tests.fuzzing import NAMES, fuzz, targets

INPUTS = examples(50, 3000)


@pytest.mark.parametrize("name", NAMES)
def test_mutated_input_ends_in_a_value_or_in_a_named_error(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of broken metadata
        found = fuzz(name, seed=20260501, inputs=INPUTS)

    assert found.failures == []
    assert found.inputs == INPUTS


def test_every_target_has_a_name_to_be_asked_for_by() -> None:
    assert set(targets()) == set(NAMES)
