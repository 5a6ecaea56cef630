"""Figures that tests measure on their way: kills, durations, duplicates, memory. Never asserted."""

from collections.abc import Callable

import pytest

#: Notes a figure: shown at the end of the run, whether the test passed or not.
Measured = Callable[[str], None]
FIGURE = "measured"


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """A note for the end of the run. It travels with the test's report: also from a worker."""
    properties = request.node.user_properties
    return lambda text: properties.append((FIGURE, text))


def show_figures(terminal: pytest.TerminalReporter) -> None:
    """Print what was noted."""
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
