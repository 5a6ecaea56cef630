"""Named steps at which tests can end the process; in production they do nothing.

Every step of a role after which a kill leaves a different state has a name here, and the code calls
`reach(name)` there. No setting arms them: a test process calls `arm`
(tests/faults/harness/crashing.py), so that tests/faults/test_crash_matrix.py can kill at each.
"""

from collections.abc import Callable

#: Name of a step -> the state at that step. The steps of a part are in their order.
POINTS: dict[str, str] = {
    "join.begun": "nothing done yet",
    "join.looked_up": "the predecessor's member id is known",
    "join.evicted": "the predecessor is out of the group",
    "join.joined": "the client runs; the member id is not stored",
    "join.remembered": "the member id is stored",
    "claim.looked": "standings are read",
    "claim.bounded": "the log's bounds are known; membership is not proven",
    "claim.proven": "membership is proven; epochs are the old ones",
    "claim.raised": "epochs are raised; nothing is sought",
    "claim.admitted": "partitions are ours",
    "intake.fetched": "records are out of the client, not in the queue",
    "intake.queued": "records are in the queue",
    "prepare.begun": "a batch is formed",
    "prepare.attempted": "in isolation: the record at work is written down",
    "prepare.done": "plans are made",
    "commit.begun": "the transaction is open",
    "commit.guarded": "progress is locked and moved",
    "commit.applied": "the role's effects are written",
    "commit.set_aside": "dead letters are written",
    "commit.outboxed": "outbox rows are written; COMMIT is not sent",
    "commit.done": "the transaction is committed; nothing is published",
    "dispatch.begun": "committed rows are about to be published",
    "dispatch.published": "Kafka has them; their rows are there",
    "dispatch.deleted": "their rows are gone",
    "advise.begun": "Kafka's committed offset is behind",
    "advise.done": "Kafka's committed offset is right",
    "sweep.locked": "rows of the outbox are locked",
    "sweep.published": "Kafka has them; their rows are locked",
    "sweep.settled": "their rows are deleted; COMMIT is not sent",
    "sweep.done": "their rows are gone",
    "leave.drained": "asked to stop: nothing is in flight",
    "leave.published": "asked to stop: nothing waits to be published",
    "leave.committed": "Kafka's committed offset is right; the rows have an owner",
    "leave.released": "the rows have no owner",
    "tagging.fetched": "bytes are there",
    "tagging.tagged": "tags are there, in memory",
    "tagging.checked": "in the transaction: deletions and labels are looked at",
    "tagging.replaced": "in the transaction: tags are written",
    "tagging.failed": "in the transaction: failures are written",
    "tagging.superseded": "in the transaction: earlier arrivals of these images wait no longer",
    "tagging.parked": "in the transaction: slow images are parked",
    "slow.claimed": "a parked image is leased and its attempt counted; nothing is begun",
    "slow.prepared": "its plan is there, in memory",
    "slow.held": "in its transaction: the claim stands",
    "slow.applied": "in its transaction: tags or failure are written",
    "slow.finished": "in its transaction: it waits no longer",
    "slow.set_aside": "in its transaction: its dead letter, if any, is written",
    "slow.outboxed": "in its transaction: outbox rows are written",
    "slow.committed": "its transaction is committed; nothing is published",
    "slow.published": "its events are published",
    "query.refreshed": "labels are those in force",
    "query.sorted": "who must wait is known",
    "query.answered": "answers are there, in memory",
    "query.parked": "in the transaction: a query waits for its upload",
    "query.kept": "in the transaction: answers are written",
    "parked.found": "parked queries can be answered",
    "parked.answered": "their answers are there, in memory",
    "parked.kept": "in their transaction: answers are written",
    "parked.unparked": "in their transaction: they wait no longer",
    "parked.outboxed": "in their transaction: outbox rows are written",
    "parked.committed": "their transaction is committed; nothing is published",
    "parked.published": "their callbacks are published",
    "delivery.scheduled": "in the transaction: due rows are written",
    "lease.taken": "rows are leased and attempts counted; nothing is begun",
    "lease.expired": "in its transaction: leases of the dead are due again",
    "attempt.begun": "the lease is committed; nothing is sent",
    "attempt.composed": "the body is made; nothing is sent",
    "attempt.answered": "the target has answered; nobody knows",
    "outcome.done": "the outcome is committed",
}

Spring = Callable[[str], None]
_springs: list[Spring] = []  # empty in production, so that `reach` costs one check


def reach(point: str) -> None:
    """Mark a step as reached; nothing happens unless a test has armed it."""
    for spring in _springs:
        spring(point)


def arm(spring: Spring) -> None:
    """Call `spring` with the name of each step from now on. For test processes only."""
    _springs.append(spring)
