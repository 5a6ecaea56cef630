"""What aiokafka leaves behind is looked at, so that the event loop has nothing to report."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import NotCoordinatorForGroupError

from core.messaging.kafka.abandoning import look_at_commits


async def test_a_commit_that_fails_after_its_time_limit_is_no_unretrieved_error() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    answered, failed = asyncio.Event(), asyncio.Event()

    async def commit(*_: object) -> None:
        await answered.wait()
        failed.set()
        raise NotCoordinatorForGroupError

    consumer = SimpleNamespace(_coordinator=SimpleNamespace(_do_commit_offsets=commit))
    look_at_commits(consumer)
    waiting = asyncio.ensure_future(asyncio.shield(consumer._coordinator._do_commit_offsets()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    answered.set()
    await failed.wait()
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()

    assert told == []
