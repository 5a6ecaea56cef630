"""How a standby comes to be waited for, and stops being. Pure: looks and the time are arguments."""

from dataclasses import dataclass
from enum import StrEnum

#: A commit waits at most so long for a standby that is gone; then nobody waits for it.
ALONE_AFTER_S = 2.0
#: A standby that runs and finds no way to the primary for so long lacks what the primary no longer
#: has, or has what the primary never had.
LOST_AFTER_S = 20.0


class JoiningStep(StrEnum):
    """What is to be done."""

    NOTHING = "nothing"
    WAIT_FOR_IT = "wait_for_it"  # commits wait for the standby from now on
    IN_STEP = "in_step"  # it has all that was acknowledged: it may take the primary's place
    GO_ALONE = "go_alone"
    MAKE_ANEW = "make_anew"


@dataclass(frozen=True, slots=True)
class PairLook:
    """One look at the pair.

    Attributes:
        streams: whether the standby has all but the last moment.
        is_waited_for: whether commits wait for it, and every session of the primary knows.
        is_connected: whether the primary sees it at all.
        runs: whether its process runs.
    """

    streams: bool
    is_waited_for: bool
    is_connected: bool
    runs: bool


@dataclass(slots=True)
class Joining:
    """Where a primary and its standby are; begins anew with each primary.

    Attributes:
        is_in_step: whether the standby has all that was acknowledged.
        is_asked: whether commits wait, or will as soon as all sessions know.
    """

    is_in_step: bool = False
    is_asked: bool = False
    _gone_since: float | None = None
    _lost_since: float | None = None

    def next(self, look: PairLook, now: float) -> JoiningStep:
        """Return the next step; it is returned again until `done` was told of it.

        Args:
            look: how the two are.
            now: seconds that only grow.
        """
        if look.streams:
            self._gone_since = self._lost_since = None
            return self._here(look)
        if self._gone_since is None:
            self._gone_since = now
        if self.is_asked and now - self._gone_since >= ALONE_AFTER_S:
            self.is_in_step = False  # before commits are acknowledged that it lacks
            return JoiningStep.GO_ALONE
        return self._lost(look, now)

    def done(self, step: JoiningStep) -> None:
        """Note that a step was done. One that failed, as on a full disk, is to be tried again."""
        match step:
            case JoiningStep.WAIT_FOR_IT | JoiningStep.GO_ALONE:
                self.is_asked = step is JoiningStep.WAIT_FOR_IT
            case JoiningStep.IN_STEP:
                self.is_in_step = True
            case JoiningStep.MAKE_ANEW:
                self._lost_since = None

    def _here(self, look: PairLook) -> JoiningStep:
        if not self.is_asked:
            return JoiningStep.WAIT_FOR_IT
        if look.is_waited_for and not self.is_in_step:
            return JoiningStep.IN_STEP
        return JoiningStep.NOTHING

    def _lost(self, look: PairLook, now: float) -> JoiningStep:
        if look.is_connected or not look.runs:  # it catches up, or is being started
            self._lost_since = None
            return JoiningStep.NOTHING
        if self._lost_since is None:
            self._lost_since = now
        if now - self._lost_since < LOST_AFTER_S:
            return JoiningStep.NOTHING
        return JoiningStep.MAKE_ANEW
