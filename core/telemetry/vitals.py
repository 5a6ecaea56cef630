"""Signs of life: what each part of a process has done, what waits for it, and since when it moves.

A part (a consumer's loop, the lanes, upkeep) notes here what it does, at no cost. Every few seconds
that goes into the table `heartbeats`; `/livez` reads it here, so that an outage of the database
kills no process.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: A part that has work and did none of it for so long ends the process by its probe, as the
#: watchdog does (CONSUMER_STALL_LIMIT_S), five times later where something outside is away.
DEFAULT_LIMIT_S = 120.0
OUTAGE_PATIENCE = 5
MOST_CHARS = 500  # of what is away, in the words of its error


@dataclass(frozen=True, slots=True)
class Beat:
    """What one part says of itself.

    Attributes:
        instance: '': that of its process.
        age_s: how long ago the part began.
        progressed_s: how long ago it last finished something; None: never.
        waiting: pieces of work that it knows to wait; None: it cannot tell.
        oldest_s: how long the oldest of them has waited; None: none waits, or it cannot tell.
        still_s: for how long it has done nothing although work waits; 0: it moves, or nothing does.
        done: pieces finished since the last beat, per second.
        about: what else people should know: `waits_for`, `halted`, `model` and the like.
    """

    role: str
    instance: str
    age_s: float
    progressed_s: float | None
    waiting: int | None
    oldest_s: float | None
    still_s: float
    done_per_s: float
    about: dict[str, Any]


@dataclass(slots=True)
class Vitals:
    """The signs of life of one part.

    Attributes:
        limit_s: for so long it may stand still although work waits.
        about: as in `Beat`; its owner changes it.
    """

    role: str
    instance: str = ""
    limit_s: float = DEFAULT_LIMIT_S
    clock: Callable[[], float] = time.monotonic
    about: dict[str, Any] = field(default_factory=dict)
    _began_at: float = field(init=False)
    _done: int = 0
    _told: tuple[float, int] | None = None
    _progressed_at: float | None = None
    _waiting: int | None = None
    _waits_since: float | None = None
    _oldest_at: float | None = None

    def __post_init__(self) -> None:
        """Begin now."""
        self._began_at = self.clock()

    def moved(self, pieces: int = 0) -> None:
        """Note that it has just finished so many pieces of work, or a part of one."""
        self._done += pieces
        self._progressed_at = self.clock()

    def sees(self, waiting: int | None, oldest_s: float | None = None) -> None:
        """Note how much work waits now, and how long the oldest piece has waited."""
        now = self.clock()
        if not waiting:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        self._waiting = waiting
        self._oldest_at = now - max(0.0, oldest_s) if waiting and oldest_s is not None else None

    def still_s(self) -> float:
        """Return for how long it has done nothing although work waits."""
        if self._waits_since is None:
            return 0.0
        return max(0.0, self.clock() - max(self._waits_since, self._progressed_at or 0.0))

    @property
    def is_stuck(self) -> bool:
        """Whether it has stood still for longer than it may."""
        patience = OUTAGE_PATIENCE if self.about.get("waits_for") else 1
        return self.still_s() > self.limit_s * patience

    def beat(self) -> Beat:
        """Return what it says of itself; what it has done is counted from here on."""
        now = self.clock()
        told_at, told = self._told or (now, self._done)
        self._told = (now, self._done)
        spent_s = now - told_at
        return Beat(
            role=self.role,
            instance=self.instance,
            age_s=now - self._began_at,
            progressed_s=None if self._progressed_at is None else now - self._progressed_at,
            waiting=self._waiting,
            oldest_s=None if self._oldest_at is None else now - self._oldest_at,
            still_s=self.still_s(),
            done_per_s=(self._done - told) / spent_s if spent_s > 0 else 0.0,
            about={name: _shown(value) for name, value in self.about.items() if value},
        )


def _shown(value: Any) -> Any:
    """Return a text bounded, and without what PostgreSQL refuses: it may quote an answer."""
    if not isinstance(value, str):
        return value
    text = value[:MOST_CHARS].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()


class Signs:
    """The parts of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._parts: dict[tuple[str, str], Vitals] = {}
        self._turned_at: float | None = None

    def part(self, role: str, instance: str = "", limit_s: float = DEFAULT_LIMIT_S) -> Vitals:
        """Return the part of this name, made when it is first asked for."""
        known = self._parts.get((role, instance))
        if known is None:
            known = Vitals(role, instance, limit_s, self._clock)
            self._parts[role, instance] = known
        return known

    def turned(self) -> None:
        """Note that the event loop goes round."""
        self._turned_at = self._clock()

    def beats(self) -> Sequence[Beat]:
        """Return what all parts say of themselves."""
        return [part.beat() for part in self._parts.values()]

    def stuck(self) -> list[str]:
        """Return what stands still, in words; nothing while the process is alive.

        May be called from another thread, as the event loop may be what stands still.
        """
        found = [
            f"{part.role}: no progress for {part.still_s():.0f} s although work waits"
            for part in list(self._parts.values())
            if part.is_stuck
        ]
        if self._turned_at is not None and self._clock() - self._turned_at > DEFAULT_LIMIT_S:
            found.append(f"event loop: blocked for {self._clock() - self._turned_at:.0f} s")
        return found
