"""Fixtures of the whole suite. Servers start when the first test asks for them."""

import pytest
import structlog
from hypothesis import HealthCheck, settings

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


def pytest_configure() -> None:
    """Change two defaults.

    structlog's coloured tracebacks with all locals take half a second each. Hypothesis's time limit
    per example would fail on a busy machine, though the code is right.
    """
    settings.register_profile(
        "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("unhurried")
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            plain,
        ]
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have measured."""
    show_figures(terminalreporter)
