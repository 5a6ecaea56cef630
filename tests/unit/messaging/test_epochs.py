"""Two members, one ledger: partitions go to and fro, work comes late, and counts once.

The trackers are the real ones; group, client and ledger are a model of a few lines. The committer
is as in the loop: it looks at epochs, plans moves, asks the guard, writes what is still its own.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.messaging.batching import PartitionBatch, plan_moves
from core.messaging.tracking import FetchAction, Tracker
from core.offsets import Claim, Move
from schemas.record import Partition, Record
from tests.examples import examples

PARTITIONS = (Partition("t", 0), Partition("t", 1))
LOG = 40
RECORD = Record("t", None, (), b"")
members, partitions = st.sampled_from("ab"), st.sampled_from(PARTITIONS)


@dataclass
class Row:
    next_offset: int = 0
    epoch: int = 0


@dataclass
class Member:
    """A tracker, its client's positions, fetches under way and batches that were prepared."""

    tracker: Tracker = field(default_factory=lambda: Tracker(reject_after=5))
    positions: dict[Partition, int] = field(default_factory=dict)
    asked: list[tuple[Partition, int | None, int, int, list[int]]] = field(default_factory=list)
    batches: list[list[PartitionBatch]] = field(default_factory=list)
    claims: list[tuple[int, Claim]] = field(default_factory=list)


class TwoMembers(RuleBasedStateMachine):
    """Whatever the order, a partition's effects are its log, each once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.members = {"a": Member(), "b": Member()}
        self.rows = {partition: Row() for partition in PARTITIONS}
        self.effects: dict[Partition, list[int]] = {partition: [] for partition in PARTITIONS}
        self.gone: dict[Partition, set[int]] = {partition: set() for partition in PARTITIONS}

    @rule(partition=partitions, offset=st.integers(0, LOG - 1))
    def compact(self, partition: Partition, offset: int) -> None:
        asked = (it for one in self.members.values() for it in one.asked if it[0] == partition)
        if offset >= max((end for _, _, _, end, _ in asked), default=0):
            self.gone[partition].add(offset)

    @initialize()
    def begin(self) -> None:
        self.assign("a", set(PARTITIONS))
        self.claim("a")

    @rule(name=members, some=st.sampled_from([set(PARTITIONS), {PARTITIONS[0]}, set(PARTITIONS)]))
    def assign(self, name: str, some: set[Partition]) -> None:
        """Not told to the other: it is a zombie of the old generation until it is revoked."""
        self.members[name].tracker.assigned(some)

    @rule(name=members)
    def claim(self, name: str) -> None:
        """At once, as it mostly is."""
        self.raise_epochs(name)
        self.admit(name)

    @rule(name=members, count=st.integers(1, 6))
    def fetch(self, name: str, count: int) -> None:
        """Both partitions, at once."""
        for partition in PARTITIONS:
            self.ask(name, partition, count)
        self.answer(name)

    @rule(name=members, count=st.integers(1, 6))
    def take_over(self, name: str, count: int) -> None:
        """The group gives all to this one, who does some work; the other sleeps through it."""
        self.assign(name, set(PARTITIONS))
        self.claim(name)
        self.fetch(name, count)
        self.commit(name, answer_is_lost=False)

    @rule(name=members)
    def revoke(self, name: str) -> None:
        self.members[name].tracker.revoked()

    @rule(name=members)
    def raise_epochs(self, name: str) -> None:
        """The database has claimed; the member has not heard of it yet."""
        member = self.members[name]
        for partition in member.tracker.unclaimed():
            row = self.rows[partition]
            row.epoch += 1
            claim = Claim(partition, row.next_offset, row.epoch)
            member.claims.append((member.tracker.token, claim))

    @rule(name=members)
    def admit(self, name: str) -> None:
        member = self.members[name]
        claims, member.claims = member.claims, []
        for token, claim in claims:
            if token == member.tracker.token:
                member.positions[claim.partition] = claim.next_offset  # the seek
                assert member.tracker.admit([claim], token=token)
            else:
                assert not member.tracker.admit([claim], token=token)

    @rule(name=members, partition=partitions, count=st.integers(1, 6))
    def ask(self, name: str, partition: Partition, count: int) -> None:
        """A fetch moves the client's position when it is asked."""
        member = self.members[name]
        start = member.positions.get(partition, 0)
        end = min(start + count, LOG)
        if end > start:
            here = [o for o in range(start, end) if o not in self.gone[partition]]
            member.positions[partition] = end
            epoch = member.tracker.ready().get(partition)
            member.asked.append((partition, epoch, start, end, here))

    @rule(name=members, moves_late=st.booleans())
    def answer(self, name: str, *, moves_late: bool = False) -> None:
        """Or it moves the position when it answers, over a seek that was made meanwhile."""
        member = self.members[name]
        batch: list[PartitionBatch] = []
        for partition, epoch, start, end, offsets in member.asked:
            if moves_late:
                member.positions[partition] = end
            judged = member.tracker.classify(partition, epoch, start, end)
            if judged.action is FetchAction.SEEK:
                member.positions[partition] = judged.position
            elif judged.action is FetchAction.TAKE:
                assert epoch is not None
                records = [(offset, 0, RECORD) for offset in offsets]
                batch.append(PartitionBatch(partition, epoch, start, end, records, 1))
        member.asked.clear()
        if batch:
            member.batches.append(batch)

    @rule(name=members, at=st.integers(1, 5))
    def split(self, name: str, at: int) -> None:
        """The oldest batch was too large, or is halved: a stretch goes in two."""
        batches = self.members[name].batches
        if batches and len(batches[0][0]) > at:
            (first, *others) = batches[0]
            front, back = first.split(at)
            batches[:1] = [[front], [back, *others]]

    @rule(name=members, answer_is_lost=st.booleans())
    def commit(self, name: str, *, answer_is_lost: bool) -> None:
        """The oldest batch: what is ours by the tracker, then by the guard."""
        member = self.members[name]
        if not member.batches:
            return
        ready = member.tracker.ready()
        batch = [s for s in member.batches.pop(0) if ready.get(s.partition) == s.epoch]
        moves = plan_moves(batch)
        ours = {move.partition for move in moves if self._advance(move)}
        for stretch in batch:
            if stretch.partition in ours:
                self.effects[stretch.partition] += [offset for offset, _, _ in stretch.records]
        if answer_is_lost:
            member.tracker.drop()
            return
        member.tracker.committed(move for move in moves if move.partition in ours)
        member.tracker.drop([move.partition for move in moves if move.partition not in ours])

    def _advance(self, move: Move) -> bool:
        row = self.rows[move.partition]
        if (row.epoch, row.next_offset) != (move.epoch, move.from_offset):
            return False
        assert move.to_offset > row.next_offset, "backwards"
        row.next_offset = move.to_offset
        return True

    @invariant()
    def each_once_in_order_and_none_left_out(self) -> None:
        for partition, row in self.rows.items():
            done = self.effects[partition]
            assert all(one < next_ for one, next_ in pairwise(done)), done
            there = [o for o in range(row.next_offset) if o not in self.gone[partition]]
            assert set(there) <= set(done), f"skipped {set(there) - set(done)}"

    @invariant()
    def what_a_member_believes_is_never_ahead(self) -> None:
        for member in self.members.values():
            for partition, offset in member.tracker.progress().items():
                assert offset <= self.rows[partition].next_offset


TestTwoMembers = TwoMembers.TestCase
TestTwoMembers.settings = settings(
    max_examples=examples(50, 1000), stateful_step_count=40, deadline=None
)
