"""The partitions that this member owns, with epoch and offsets. Pure: no I/O, no clock.

A record counts only between our own claim and the next revocation. A record that is dropped is lost
unless its offset is sought again. `assignment()` of the client is never asked, since between revoke
and assign it still shows the old partitions (docs/research/runtime.md, sections 2.1 to 2.3).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from core.offsets import Claim, Move
from schemas.record import Partition

#: Halts that a rebalance does not lift: their cause is in the records or in this process.
LASTING_HALTS = frozenset({"dead_letter_budget"})


@dataclass(slots=True)
class OwnedPartition:
    """One partition that we have claimed.

    Attributes:
        position: the next offset to be taken from the log.
        committed: the next offset by the database.
        isolate_until: offsets below it are taken one by one.
        condemned: the offset whose record ended the process too often; -1: none.
        crashes: how often it did.
        waiting: the end of each stretch that was taken and is not committed, with the time of its
            first record in milliseconds since 1970.
    """

    epoch: int
    position: int
    committed: int
    isolate_until: int
    condemned: int
    crashes: int
    waiting: deque[tuple[int, int]] = field(default_factory=deque)


class FetchAction(Enum):
    """What to do with fetched records."""

    TAKE = "take"
    SEEK = "seek"
    DROP = "drop"


class Classified(NamedTuple):
    """What is to be done with a stretch of the log; `position` is the offset to seek to."""

    action: FetchAction
    position: int = -1


class Tracker:
    """The partitions of one member.

    Attributes:
        token: counts revocations, assignments and recoveries; a claim that began under a lower one
            must not take effect.
        wanted: partitions that the group gave us.
        halted: partitions that stand still until someone acts, with the reason.
    """

    def __init__(self, *, reject_after: int) -> None:
        self.token = 0
        self.wanted: frozenset[Partition] = frozenset()
        self.halted: dict[Partition, str] = {}
        self._owned: dict[Partition, OwnedPartition] = {}
        self._reject_after = reject_after

    def revoked(self) -> None:
        """Let all partitions go: the eager protocol revokes all at once."""
        self.token += 1
        self.wanted = frozenset()
        self._owned.clear()

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Note which partitions are to be claimed. Sometimes called twice for one generation."""
        self.token += 1
        self.wanted = frozenset(partitions)
        self._owned.clear()
        self.halted = {
            partition: reason
            for partition, reason in self.halted.items()
            if reason in LASTING_HALTS and partition in self.wanted
        }

    def drop(self, partitions: Iterable[Partition] | None = None) -> None:
        """Forget all claims or some, so that work in flight has no effect any more."""
        if partitions is None:
            self.token += 1
            self._owned.clear()
        else:
            for partition in partitions:
                self._owned.pop(partition, None)

    def halt(self, partition: Partition, reason: str) -> None:
        """Stop a partition until its halt is lifted."""
        self._owned.pop(partition, None)
        if partition in self.wanted:
            self.halted[partition] = reason

    def unclaimed(self) -> list[Partition]:
        """Return the partitions that are still to be claimed, sorted."""
        return sorted(self.wanted - self._owned.keys() - self.halted.keys())

    def admit(self, claims: Sequence[Claim], *, token: int) -> bool:
        """Begin to take records of claimed partitions; return False if the token is an old one."""
        if token != self.token:
            return False
        for claim in claims:
            if claim.partition in self.wanted:
                self._owned[claim.partition] = self._take_over(claim)
        return True

    def _take_over(self, claim: Claim) -> OwnedPartition:
        # Condemned only if the last owner ended while it was preparing this very record alone.
        guilty = claim.crashes >= self._reject_after and claim.attempted_offset == claim.next_offset
        return OwnedPartition(
            epoch=claim.epoch,
            position=claim.next_offset,
            committed=claim.next_offset,
            isolate_until=claim.isolate_until,
            condemned=claim.next_offset if guilty else -1,
            crashes=claim.crashes,
        )

    def ready(self) -> dict[Partition, int]:
        """Return the epoch of each partition whose records count now."""
        return {partition: owned.epoch for partition, owned in self._owned.items()}

    def classify(
        self, partition: Partition, epoch: int | None, start: int, end: int, at_ms: int = -1
    ) -> Classified:
        """Decide about the log from `start` to before `end`, which was asked for in `epoch`.

        A fetch that began before a claim and returned after it moved the client's position past
        records that nobody took, so our position must be sought again. The same where the client
        stood elsewhere than we do: only what follows on what we took is taken, whether it holds
        records or none.

        Args:
            at_ms: the time of its first record; -1: it has none.
        """
        owned = self._owned.get(partition)
        if owned is None:
            return Classified(FetchAction.DROP)
        if owned.epoch != epoch or start != owned.position:
            return Classified(FetchAction.SEEK, owned.position)
        owned.position = end
        if at_ms >= 0:
            owned.waiting.append((end, at_ms))
        return Classified(FetchAction.TAKE, start)

    def position(self, partition: Partition) -> int | None:
        """Return the next offset to be taken; None if the partition is not ours."""
        owned = self._owned.get(partition)
        return None if owned is None else owned.position

    def owns(self, partition: Partition, epoch: int) -> bool:
        """Return whether work begun under this epoch may still take effect."""
        owned = self._owned.get(partition)
        return owned is not None and owned.epoch == epoch

    def committed(self, moves: Iterable[Move]) -> None:
        """Note moves that the database has committed."""
        for move in moves:
            owned = self._owned.get(move.partition)
            if owned is not None and owned.epoch == move.epoch:
                owned.committed = move.to_offset
                while owned.waiting and owned.waiting[0][0] <= move.to_offset:
                    owned.waiting.popleft()

    def progress(self) -> dict[Partition, int]:
        """Return the database's next offset of each claimed partition."""
        return {partition: owned.committed for partition, owned in self._owned.items()}

    def waiting_since_ms(self) -> dict[Partition, int]:
        """Return about when the oldest record was written that is in hand, where any is."""
        return {
            partition: owned.waiting[0][1]
            for partition, owned in self._owned.items()
            if owned.waiting
        }

    def in_hand(self) -> frozenset[Partition]:
        """Return claimed partitions with records that were taken and are not committed yet."""
        return frozenset(
            partition
            for partition, owned in self._owned.items()
            if owned.position > owned.committed
        )

    def isolating(self) -> bool:
        """Return whether any partition still has records to be taken one by one."""
        return any(owned.committed < owned.isolate_until for owned in self._owned.values())

    def condemned(self) -> dict[tuple[Partition, int], int]:
        """Return the places of records that ended the process too often, with how often."""
        return {
            (partition, owned.condemned): owned.crashes
            for partition, owned in self._owned.items()
            if owned.condemned >= 0
        }
