"""Figures that tests measure on their way: kills, durations, duplicates, memory. Never asserted."""

from collections.abc import Callable

import pytest

#: Notes a figure: shown at the end of the run, whether the test passed or not.
Measured = Callable[[str], None]
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """A note for the end of the run."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda text: figures.append(f"{request.node.name}: {text}")


def show_figures(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was noted."""
    if figures := config.stash.get(FIGURES, []):
        terminal.section("measured")
        terminal.write("".join(f"{figure}\n" for figure in figures))
