"""Figures that tests measure without asserting them: kills, durations, duplicates, memory."""

from collections.abc import Callable

import pytest

#: Notes a figure. It is printed at the end of the run, whether the test passed or not.
Measured = Callable[[str], None]
FIGURE = "measured"


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Return a function that notes a figure in the test's report, also from a worker process."""
    properties = request.node.user_properties
    return lambda text: properties.append((FIGURE, text))


def show_figures(terminal: pytest.TerminalReporter) -> None:
    """Print the noted figures."""
    figures = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for reports in terminal.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, text in report.user_properties
        if name == FIGURE
    ]
    if figures:
        terminal.section("measured")
        terminal.write("".join(f"{figure}\n" for figure in figures))
