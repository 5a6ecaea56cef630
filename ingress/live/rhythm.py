"""How often a stream of events does what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between looks at whether the stream goes on, between comments, and until its end.

    Attributes:
        admitted_s: between two looks at whether the key or the session is still valid; with the
            time for which keys are remembered well under 15 s.
    """

    look_s: float = 1.0
    admitted_s: float = 5.0
    comment_s: float = 15.0
    longest_s: float = 600.0


RHYTHM = Rhythm()
