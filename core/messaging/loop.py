"""The loop of every role, on one screen.

    fetch -> queue -> decode, prepare -> [guard, apply, outbox, dead letters] -> publish
    intake            pipeline           committer: one transaction per batch    outbox

Beside it: the claimer (ownership), the advisory commit, the sweeper, the watchdog. Each task runs
until it is cancelled. One that ends by itself ends the process, since a process with a part missing
would hold its partitions for ever.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import structlog

from core.errors import innermost
from core.messaging.claiming import Claimer
from core.messaging.committing import Committer
from core.messaging.intake import Intake
from core.messaging.kafka.connection import is_cancelled
from core.messaging.member import Member
from core.messaging.outbox import OutboxPublisher, Sweeper
from core.messaging.pipeline import Pipeline
from core.messaging.preparing import Preparer
from core.messaging.session import RoleParts, Session
from core.messaging.watching.watchdog import Stalled, Watchdog

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: Container objects made between two young collections. Python's 700 collects once per fifty
#: records and costs a quarter of the loop's CPU; records hold no cycles.
YOUNG_OBJECTS = 20_000


async def run_role(parts: RoleParts[E, P], stop: asyncio.Event) -> None:
    """Run a role until `stop` is set; then finish what is in flight, commit and leave.

    Raises:
        ConfigurationError: the progress belongs to another cluster or topic.
        Stalled: a partition stood still for no reason.
        Exception: a bug; what was in flight is not committed. The process should end.
    """
    structlog.contextvars.bind_contextvars(group=parts.group, topic=parts.topic.name)
    session = _session(parts)
    outbox = OutboxPublisher(parts.database, parts.outbox, parts.publisher)
    pipeline = Pipeline(session, Preparer(session, parts))
    member = Member(session, parts, outbox)
    try:
        if not await member.join(stop):
            return
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_for_ever(name, work), name=name)
                for name, work in {
                    "intake": Intake(session, parts.client, backoff=parts.backoff).run(),
                    "pipeline": pipeline.run(tasks),
                    "committer": Committer(session, parts, pipeline, outbox).run(),
                    "dispatcher": outbox.run(),
                    "claimer": Claimer(session, parts).run(),
                    "advisory": member.run(),
                    "sweeper": _sweeper(parts).run(asyncio.Event()),
                    "watchdog": Watchdog(session, parts.client).run(),
                }.items()
            ]
            await stop.wait()
            await member.leave()
            for task in [*running, *pipeline.pending()]:
                task.cancel()
    except BaseExceptionGroup as group:
        error = innermost(group)
        if isinstance(error, Stalled) and error.waits_for is not None:
            await member.give_back()
        raise error from group
    finally:
        await parts.client.stop()


def _session(parts: RoleParts[E, P]) -> Session:
    return Session(
        parts.settings,
        parts.metrics,
        group=parts.group,
        instance=parts.instance,
        limits=parts.limits,
        isolation=parts.isolation,
    )


def _sweeper(parts: RoleParts[E, P]) -> Sweeper:
    return Sweeper(
        parts.database,
        parts.outbox,
        parts.publisher,
        parts.outbox_settings,
        parts.metrics,
        parts.limits,
    )


async def _for_ever(name: str, work: Coroutine[Any, Any, None]) -> NoReturn:
    try:
        await work
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        # A task group ignores a CancelledError that nobody asked for and goes on without the task.
        raise RuntimeError(f"{name} was cancelled by nobody") from None
    raise RuntimeError(f"{name} ended by itself")


def calm_collector() -> None:
    """Let Python collect garbage less often, and never what is there now. Once per process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
