"""When a process that ended is started again. Pure: time comes in as an argument."""

from dataclasses import dataclass

FIRST_DELAY_S = 0.1  # a single crash should hardly be noticed
GROWTH = 3.0
LONGEST_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0  # a run this long ends a row of failures
LOOP_FROM = 4  # failures in a row that are called a crash loop
CONFIGURATION_EXIT = 2  # core/errors.py: ConfigurationError ends a process with it


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a run ended, unasked.

    Attributes:
        exit_code: None where it could not be started at all.
        ran_s: how long it was up.
        obstacle: why another try cannot help; empty where it may.
    """

    exit_code: int | None
    ran_s: float
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `delay_s`; `failures` in a row so far."""

    delay_s: float
    failures: int

    @property
    def is_loop(self) -> bool:
        """It crashes again and again."""
        return self.failures >= LOOP_FROM


@dataclass(frozen=True, slots=True)
class NoRestart:
    """Starting it again cannot help."""

    reason: str


def decide(failures: int, ended: ProcessEnd) -> Restart | NoRestart:
    """What to do after a process ended unasked.

    Delays in a row: 0.1, 0.3, 0.9, 2.7, 8.1, 24.3 and then 30 seconds.

    Args:
        failures: failures in a row before this one.
        ended: this one.
    """
    if ended.obstacle:
        return NoRestart(ended.obstacle)
    if ended.exit_code == CONFIGURATION_EXIT:
        return NoRestart("a setting cannot be worked with")
    row = 1 if ended.ran_s >= HEALTHY_AFTER_S else failures + 1
    delay_s = min(FIRST_DELAY_S * GROWTH ** min(row - 1, 10), LONGEST_DELAY_S)
    return Restart(delay_s, row)
