"""When to try again. Pure: the random source is an argument."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter.

    Attributes:
        first_s: the delay after the first failure.
        longest_s: no delay is longer.
        jitter: share of the delay that is left to chance: 0.2 gives 0.8 to 1.0 of it.
    """

    first_s: float = 0.2
    longest_s: float = 10.0
    jitter: float = 0.2

    def delay_s(self, failures: int, random: Random) -> float:
        """Seconds to wait after so many failures in a row (1: after the first)."""
        doubled = self.first_s * 2.0 ** min(max(failures, 1) - 1, 40)
        return min(doubled, self.longest_s) * (1 - self.jitter * random.random())
