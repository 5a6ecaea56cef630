"""When a process that ended is started again. Pure: time is an argument."""

from dataclasses import dataclass

FIRST_DELAY_S = 0.1  # a single crash should hardly be noticed
GROWTH = 3.0
LONGEST_DELAY_S = 30.0
LONGEST_SERVING_DELAY_S = 3.0  # for what people wait for: the ingress, and the servers behind it
HEALTHY_AFTER_S = 60.0  # after a run of this length failures are counted from one again
LOOP_FROM = 4  # from so many failures in a row on it is a crash loop
CONFIGURATION_EXIT = 2  # core/errors.py: ConfigurationError ends a process with it


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a process ended that nobody stopped.

    Attributes:
        exit_code: its exit code; None where it could not be started.
        ran_s: how long it ran.
        obstacle: why another try cannot help; empty where it may help.
    """

    exit_code: int | None
    ran_s: float
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """The process is started again after `delay_s`; it has failed `failures` times in a row."""

    delay_s: float
    failures: int

    @property
    def is_loop(self) -> bool:
        """Whether it is in a crash loop."""
        return self.failures >= LOOP_FROM

    @property
    def is_news(self) -> bool:
        """Whether a person should hear of it: of a loop that goes on ever more seldom."""
        return not self.is_loop or self.failures.bit_count() == 1


@dataclass(frozen=True, slots=True)
class NoRestart:
    """The process is not started again, because that cannot help."""

    reason: str


def decide(
    failures: int, ended: ProcessEnd, *, longest_delay_s: float = LONGEST_DELAY_S
) -> Restart | NoRestart:
    """Return what follows from the end of a process that nobody stopped.

    The delays grow: 0.1, 0.3, 0.9, 2.7, 8.1, 24.3, then always 30 seconds. A loop costs a start
    per delay, so only what people wait for is tried more often.

    Args:
        failures: failures in a row before this one.
        ended: this one.
        longest_delay_s: where the growth ends.
    """
    if ended.obstacle:
        return NoRestart(ended.obstacle)
    if ended.exit_code == CONFIGURATION_EXIT:
        return NoRestart("a setting is invalid")
    row = 1 if ended.ran_s >= HEALTHY_AFTER_S else failures + 1
    delay_s = min(FIRST_DELAY_S * GROWTH ** min(row - 1, 10), longest_delay_s)
    return Restart(delay_s, row)
