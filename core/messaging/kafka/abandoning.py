"""What clients leave behind when they are not waited for: unsent records, tasks, errors."""

import asyncio
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from core.messaging.kafka.connection import is_cancelled

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 3.0


async def abandon(producer: Any, *, flush_s: float) -> None:
    """Stop a producer without hanging. The records that it holds fail; they are not sent later.

    `stop()` alone waits for ever with the broker away, and cancelling it leaves the sender alive:
    the sender is ended by hand (private names of aiokafka 0.14).
    """
    if flush_s:
        try:
            async with asyncio.timeout(flush_s):
                await producer.flush()
        except (KafkaError, OSError, TimeoutError):
            pass
    sender = producer._sender.sender_task  # noqa: SLF001
    for _ in range(2):  # the first cancellation lets it await its requests, the second does not
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait([sender], timeout=1.0)
    _fail_unsent(producer._message_accumulator)  # noqa: SLF001
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("producer_stop_failed", error=repr(error))
    except asyncio.CancelledError as error:
        if is_cancelled():  # else the sender raised it, and it would end our caller silently
            raise
        log.warning("producer_stop_failed", error=repr(error))


def _fail_unsent(accumulator: Any) -> None:
    """Fail what a producer holds, without unretrieved exceptions in the event loop."""
    for batches in accumulator._batches.values():  # noqa: SLF001
        # A batch that was put back after a failed send removes itself from the pending ones when it
        # ends, and must be there; and usually nobody waits for a batch to be drained.
        accumulator._pending_batches.update(batches)  # noqa: SLF001
        for batch in batches:
            batch._drain_waiter.add_done_callback(look_at_error)  # noqa: SLF001
    accumulator.fail_all(KafkaError("producer abandoned"))


def look_at_error(future: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a record, since nobody may be waiting for it any more."""
    if not future.cancelled():
        future.exception()


def look_at_commits(consumer: Any) -> None:
    """Retrieve the errors of a started consumer's commits that go on behind our time limit.

    aiokafka 0.14 shields the request: cancelled, it leaves a task that nobody awaits.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    commit = coordinator._do_commit_offsets  # noqa: SLF001

    def watched(*wanted: Any) -> "asyncio.Future[Any]":
        task: asyncio.Future[Any] = asyncio.ensure_future(commit(*wanted))
        task.add_done_callback(look_at_error)
        return task

    coordinator._do_commit_offsets = watched  # noqa: SLF001
