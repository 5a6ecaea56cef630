"""Remove the mechanisms behind the guarantees one by one, in a process that tests start.

A fault test that passes without the guard too proves nothing. Each of these must make the named
invariant fail (tests/faults/test_mutations.py). A mutation that finds nothing to remove raises.
"""

from collections.abc import Callable, Sequence
from typing import Any

from core.messaging.outbox import Sweeper
from core.offsets import OutboxRow
from core.storage.archive import parked_images
from core.storage.delivery import deliveries
from core.storage.queries import queries
from core.storage.stream import outbox, progress
from core.transaction import Transaction
from schemas.record import Record


def _without(module: Any, constant: str, old: str, new: str) -> None:
    """Replace text in an SQL constant."""
    text = getattr(module, constant)
    if old not in text:
        raise AssertionError(f"{constant} has no {old!r}: the mutation is out of date")
    setattr(module, constant, text.replace(old, new))


def _put(owner: Any, name: str, other: Any) -> None:
    """Replace a method by another function."""
    if not hasattr(owner, name):
        raise AssertionError(f"{owner.__name__} has no {name}: the mutation is out of date")
    setattr(owner, name, other)


def without_guard() -> None:
    """Let the guard pass all partitions, whoever owns them."""
    real = progress.advance

    async def advance(tx: Transaction, owner: Any, moves: Any) -> frozenset[Any]:
        await real(tx, owner, moves)
        return frozenset(move.partition for move in moves)

    _put(progress, "advance", advance)


def without_one_transaction() -> None:
    """Move progress in a transaction of its own, before the effects."""
    real = progress.advance

    async def advance(tx: Transaction, owner: Any, moves: Any) -> frozenset[Any]:
        ours = await real(tx, owner, moves)
        await tx.execute("COMMIT")
        await tx.execute("BEGIN")  # for the effects, which the pool commits or rolls back
        return ours

    _put(progress, "advance", advance)


def without_outbox() -> None:
    """Publish events without outbox rows."""

    async def add(_tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        return [OutboxRow(-1 - number, record) for number, record in enumerate(records)]

    _put(outbox, "add", add)


def without_sweeper() -> None:
    """Do not publish rows that a crash left."""

    async def sweep(_self: Any, *, age_s: float) -> bool:
        return False

    _put(Sweeper, "sweep", sweep)


def without_first_answer() -> None:
    """Let the last answer win."""
    _without(queries, "_ANSWER", "queries.status <> 'answered'", "true")


def without_unique_delivery() -> None:
    """Make two webhooks of a callback event that comes twice."""
    _without(deliveries, "_SCHEDULE", "SELECT u.delivery_id,", "SELECT gen_random_uuid(),")


def without_lease_token() -> None:
    """Let any former holder of a lease write the outcome."""
    _without(deliveries, "_SETTLE", "d.state = 'leased' AND d.token = g.token", "true")


def without_claim() -> None:
    """Let any former holder of a claim write a parked image's effects."""
    real = parked_images.hold

    async def hold(tx: Transaction, claimed: parked_images.ClaimedImage) -> bool:
        await real(tx, claimed)
        return True

    async def prolong(_connection: Transaction, _claimed: Any, _lease_s: float) -> bool:
        return True  # otherwise the work is broken off before it comes to its transaction

    _put(parked_images, "hold", hold)
    _put(parked_images, "prolong", prolong)


MUTATIONS: dict[str, Callable[[], None]] = {
    "guard": without_guard,
    "one_transaction": without_one_transaction,
    "outbox": without_outbox,
    "sweeper": without_sweeper,
    "first_answer": without_first_answer,
    "unique_delivery": without_unique_delivery,
    "lease_token": without_lease_token,
    "claim": without_claim,
}


def apply(name: str) -> None:
    """Apply one mutation; none for ''."""
    if name:
        MUTATIONS[name]()
