"""Fixtures of the whole suite. Servers start when the first test asks for them."""

import pytest

from tests.measured import measured, show_figures
from tests.servers import (
    database_template,
    database_url,
    empty_database_url,
    kafka_bootstrap,
    kafka_server,
    postgres_server,
    postgres_url,
    topics_prefix,
)

__all__ = [
    "database_template",
    "database_url",
    "empty_database_url",
    "kafka_bootstrap",
    "kafka_server",
    "measured",
    "postgres_server",
    "postgres_url",
    "topics_prefix",
]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what tests have measured."""
    show_figures(terminalreporter, config)
