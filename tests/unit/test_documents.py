"""Documents say what the code says."""

from tests.documents import (
    ENV_EXAMPLE,
    OPERATIONS,
    env_example,
    groups,
    meanings,
    operations,
    variables,
)


def test_operations_has_every_setting_and_metric_as_the_code_has_them() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")

    assert text == operations(text), "run: make docs"


def test_the_example_environment_has_every_setting_with_its_default() -> None:
    assert ENV_EXAMPLE.read_text(encoding="utf-8") == env_example(meanings()), "run: make docs"


def test_no_two_groups_share_a_variable() -> None:
    names = [name for group in groups() for name in variables(group)]

    assert len(names) == len(set(names)) > 90
