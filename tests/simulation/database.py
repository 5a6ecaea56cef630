"""PostgreSQL as the loop sees it: sessions, row locks, commits that are all or nothing.

What a life holds is let go when it dies (its sockets are closed), and when it idles in a
transaction for too long (a frozen life). A COMMIT that was sent is carried out, whatever becomes of
the sender: until then its locks are held, so that whoever claims waits for it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from core.errors import DatabaseAway, PermanentError, RecordRefused
from core.offsets import Bid, Claim, DeadLetter, Identity, Move, OutboxRow, Owner, Place
from schemas.record import Partition, Record
from tests.simulation.clock import Life

IDLE_LIMIT_S = 5.0
LOCK_LIMIT_S = 5.0
NOWHERE = Identity("", "")


@dataclass(slots=True)
class Row:
    """A row of progress; the same words as the table's."""

    partition: Partition
    next_offset: int
    epoch: int = 0
    owner: str = ""
    identity: Identity = NOWHERE
    claimed_offset: int = -1
    attempted_offset: int = -1
    isolate_until: int = -1
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What applying a record left behind. There is no unique key: twice is two rows."""

    partition: Partition
    offset: int
    number: int


@dataclass(slots=True, eq=False)
class Session:
    """A connection in a transaction.

    Attributes:
        life: whose it is; None: one statement of somebody's.
        is_busy: a statement runs: it does not idle.
        is_committing: COMMIT was sent.
        is_over: committed or rolled back.
    """

    life: Life | None = None
    writes: list[Callable[[], None]] = field(default_factory=list)
    rows: set[Partition] = field(default_factory=set)
    outbox: set[int] = field(default_factory=set)
    is_busy: bool = False
    is_committing: bool = False
    is_over: bool = False
    idles: asyncio.TimerHandle | None = None


class SimDatabase:
    """Committed state, and the locks of open sessions.

    Attributes:
        broken: what no database may ever do, as it was seen.
    """

    def __init__(self) -> None:
        self.rows: dict[Partition, Row] = {}
        self.effects: list[Effect] = []
        self.letters: dict[tuple[Partition, int], str] = {}
        self.outbox: dict[int, tuple[float, OutboxRow]] = {}
        self.quarantined: list[tuple[OutboxRow, PermanentError]] = []
        self.places: dict[int, Place] = {}
        self.members: dict[str, str] = {}
        self.broken: list[str] = []
        self.history: list[tuple[object, ...]] = []
        self._locked: dict[Partition, Session] = {}
        self._locked_outbox: dict[int, Session] = {}
        self._sessions: set[Session] = set()
        self._freed = asyncio.Event()
        self._last_id = 0

    # --- sessions

    def begin(self, life: Life | None) -> Session:
        """Open a transaction."""
        session = Session(life)
        self._sessions.add(session)
        self.idle(session)
        return session

    def busy(self, session: Session) -> None:
        """A statement begins.

        Raises:
            DatabaseAway: the session has ended meanwhile.
        """
        if session.is_over:
            raise DatabaseAway("the session has ended")
        session.is_busy = True
        if session.idles is not None:
            session.idles.cancel()

    def idle(self, session: Session) -> None:
        """A statement has ended: from now on the session idles."""
        session.is_busy = False
        if not session.is_over:
            loop = asyncio.get_running_loop()
            session.idles = loop.call_later(IDLE_LIMIT_S, self.end, session)

    def commit(self, session: Session) -> None:
        """All its writes at once.

        Raises:
            DatabaseAway: the session has ended meanwhile: nothing was written.
        """
        if session.is_over:
            raise DatabaseAway("the session has ended")
        for write in session.writes:
            write()
        self.end(session)

    def end(self, session: Session) -> None:
        """Free what it has locked; what was not committed is gone."""
        session.is_over = True
        if session.idles is not None:
            session.idles.cancel()
        self._sessions.discard(session)
        for partition in session.rows:
            del self._locked[partition]
        for id_ in session.outbox:
            del self._locked_outbox[id_]
        session.rows, session.outbox = set(), set()
        self._freed.set()
        self._freed = asyncio.Event()

    def disconnected(self, life: Life) -> None:
        """A process has died: its sockets are closed. A COMMIT on its way still arrives."""
        for session in [one for one in self._sessions if one.life is life]:
            if not session.is_committing:
                self.end(session)

    def restart(self) -> None:
        """Every session ends; what was committed stays."""
        for session in list(self._sessions):
            self.end(session)

    async def lock(self, session: Session, partition: Partition) -> None:
        """Wait for a row's lock.

        Raises:
            DatabaseAway: not in time, or the session has ended.
        """
        try:
            async with asyncio.timeout(LOCK_LIMIT_S):
                while not session.is_over and self._locked.get(partition, session) is not session:
                    await self._freed.wait()
        except TimeoutError as error:
            raise DatabaseAway("lock timeout") from error
        if session.is_over:
            raise DatabaseAway("the session has ended")
        self._locked[partition] = session
        session.rows.add(partition)

    # --- progress

    async def claim(
        self, session: Session, owner: Owner, bids: Sequence[Bid], identity: Identity
    ) -> list[Claim]:
        """As the statements of `progress` do: rows are locked in order, raised at the commit."""
        for bid in sorted(bids):
            await self.lock(session, bid.partition)
        claims = []
        for bid in bids:
            known = self.rows.get(bid.partition)
            row = Row(bid.partition, bid.log_start) if known is None else replace(known)
            self._take_over(row, bid.log_end, owner)
            row.identity = identity
            session.writes.append(partial(self._claimed, row))
            claims.append(
                Claim(
                    row.partition,
                    row.next_offset,
                    row.epoch,
                    row.crashes,
                    row.attempted_offset,
                    row.isolate_until,
                )
            )
        return claims

    def _claimed(self, row: Row) -> None:
        self.rows[row.partition] = row
        self.note("claim", row.partition, row.epoch, row.owner)

    def _take_over(self, row: Row, log_end: int, owner: Owner) -> None:
        row.crashes = self._crashes(row, log_end, owner.name)
        if row.crashes >= owner.isolate_after and row.isolate_until <= row.next_offset:
            row.isolate_until = min(row.next_offset + owner.isolate_span, log_end)
        row.epoch += 1
        row.owner = owner.name
        row.claimed_offset = row.next_offset

    @staticmethod
    def _crashes(row: Row, log_end: int, owner: str) -> int:
        if row.owner in ("", owner) or row.next_offset >= log_end:
            return row.crashes
        if row.attempted_offset == row.next_offset:
            return row.crashes + 1
        if row.next_offset < row.isolate_until:
            return row.crashes
        return row.crashes + 1 if row.next_offset == row.claimed_offset else 0

    async def advance(
        self, session: Session, owner: Owner, moves: Sequence[Move]
    ) -> frozenset[Partition]:
        """Lock rows that stand where the moves say, look again, move them at the commit."""
        ours = []
        for move in sorted(moves):
            if not self._matches(move):
                continue
            await self.lock(session, move.partition)
            if self._matches(move):
                ours.append(move.partition)
                session.writes.append(partial(self._move, move, owner.isolate_after))
        return frozenset(ours)

    def moves(self, session: Session) -> bool:
        """Whether a transaction moves progress at its commit."""
        return any(getattr(write, "func", None) == self._move for write in session.writes)

    def _matches(self, move: Move) -> bool:
        row = self.rows.get(move.partition)
        stands = (move.epoch, move.from_offset)
        return row is not None and (row.epoch, row.next_offset) == stands

    def _move(self, move: Move, isolate_after: int) -> None:
        row = self.rows[move.partition]
        if move.to_offset <= row.next_offset or move.from_offset != row.next_offset:
            self.broken.append(f"progress of {row} moved by {move}")
        row.next_offset = move.to_offset
        row.crashes = 0 if move.to_offset >= row.isolate_until else min(row.crashes, isolate_after)
        self.note("move", *move)

    async def attempt(
        self, session: Session, owner: Owner, partition: Partition, offset: int
    ) -> None:
        """Write down who is at work on which record alone."""
        self.note("attempt", partition, offset)
        for row in sorted(self.rows.values(), key=lambda row: row.partition):
            if row.owner != owner.name:
                continue
            if row.partition == partition or row.attempted_offset >= 0:
                await self.lock(session, row.partition)
                locked = self.rows[row.partition]
                if locked.owner == owner.name:
                    locked.attempted_offset = offset if locked.partition == partition else -1

    async def release(
        self, session: Session, owner: Owner, epochs: Mapping[Partition, int]
    ) -> None:
        """Nobody owns these any more, where the epoch is still this one."""
        for partition, epoch in sorted(epochs.items()):
            await self.lock(session, partition)
            row = self.rows[partition]
            if (row.epoch, row.owner) == (epoch, owner.name):
                row.owner, row.attempted_offset = "", -1
                self.note("release", partition, epoch)

    # --- effects, dead letters, outbox

    def apply(self, session: Session, effects: Sequence[Effect], refused: frozenset[int]) -> None:
        """Write effects at the commit.

        Raises:
            RecordRefused: one of the numbers is one that PostgreSQL will not take.
        """
        bad = [effect.number for effect in effects if effect.number in refused]
        if bad:
            self.end(session)
            raise RecordRefused(f"a NUL in {bad}")
        session.writes.append(lambda: self.effects.extend(effects))

    def set_aside(self, session: Session, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters at the commit; one that is there stays."""

        def write() -> None:
            for letter in letters:
                partition = Partition(letter.place.topic, letter.place.partition)
                self.letters.setdefault((partition, letter.place.offset), letter.place.reason)

        session.writes.append(write)

    def add(self, session: Session, records: Sequence[Record]) -> list[OutboxRow]:
        """Outbox rows, at the commit."""
        first = self._last_id + 1
        self._last_id += len(records)
        now = asyncio.get_running_loop().time()
        rows = [OutboxRow(id_, record) for id_, record in enumerate(records, first)]
        session.writes.append(lambda: self.outbox.update({row.id: (now, row) for row in rows}))
        return rows

    def lock_older(
        self, session: Session, *, age_s: float, limit: int, after: int
    ) -> list[OutboxRow]:
        """The first rows of this age that nobody has locked."""
        youngest = asyncio.get_running_loop().time() - age_s
        found = [
            row
            for id_, (at, row) in sorted(self.outbox.items())
            if id_ > after and at <= youngest and id_ not in self._locked_outbox
        ][:limit]
        for row in found:
            self._locked_outbox[row.id] = session
            session.outbox.add(row.id)
        return found

    def forget(self, ids: Sequence[int]) -> None:
        """Delete outbox rows."""
        for id_ in ids:
            self.outbox.pop(id_, None)

    def note(self, *what: object) -> None:
        """Write down what was committed, for the trace."""
        self.history.append((round(asyncio.get_running_loop().time(), 6), *what))
