"""All three roles in one process that kills itself at a named step.

`python -m tests.faults.harness.crashing` imports everything once; each life is a fork, so that a
start costs milliseconds instead of seconds. Composition roots, loop, SQL, Kafka and HTTP are real.
The model and the decoders are doubles (pixels are a hash), and the lemmatizer is loaded before the
fork.
Orders are JSON lines on the standard input:
    {"do": "start", "at": STEP, "nth": 2, "group": "", "mutation": ""}   -> {"pid": 4711}
    {"do": "arm", "pid": 4711, "at": STEP, "nth": 1, "group": ""}        -> {}
    {"do": "wait", "pid": 4711, "timeout_s": 30}   -> {"signal": 9}, {"code": 0} or {"alive": true}
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Self

import structlog
import uvloop

import consumers.delivery.lanes
import consumers.delivery.main
import consumers.query.main
import consumers.runtime
import consumers.tagging.main
from consumers.tagging.slow_lane import SlowLane
from core import failpoints
from core.language.lemmatizer import Lemmatizer
from core.messaging.limits import LoopLimits
from core.messaging.loop import calm_collector
from core.settings import TelemetrySettings, load
from core.starting import Beginning
from core.telemetry import logs
from core.vision.clip import DEFAULT_TEMPLATES
from core.vision.opening import Taggers
from core.vision.tagger import ClipTagger, TaggerOptions
from tests.fakes.vision import HashModel, PatientDecoder, PromptDecoder
from tests.faults.harness import mutations

EXPIRE_INTERVAL_S = 0.3  # 5 s in production, too long for hundreds of kills
PARKED_LEASE_S = 2.0  # 30 s in production, likewise
LIMITS = LoopLimits(advisory_commit_interval_s=0.3, sweep_interval_s=0.3)  # likewise


@dataclass(slots=True)
class Trap:
    """Kills the process when a step is reached the nth time, by one role or by any."""

    at: str = ""
    nth: int = 1
    group: str = ""
    signal: int = signal.SIGKILL

    def spring(self, point: str) -> None:
        """Count the step, and kill the process if it is the aimed one."""
        if point != self.at or (self.group and self.group != _group()):
            return
        self.nth -= 1
        if not self.nth:
            os.kill(os.getpid(), self.signal)

    def set(self, order: dict[str, Any]) -> None:
        """Set another aim."""
        self.at = str(order.get("at", ""))
        self.nth = int(order.get("nth", 1))
        self.group = str(order.get("group", ""))
        self.signal = int(order.get("signal", signal.SIGKILL))


def _group() -> str:
    """Return the role that reached the step, as the loop binds it for its log lines."""
    return str(structlog.contextvars.get_contextvars().get("group", ""))


class NoPictures:
    """A double of the decoder pool: pictures are sent unchanged (DELIVERY_KEEP_EXIF)."""

    def __init__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def outgoing_copy(self, data: bytes) -> bytes:
        """Fail: no copy is made where pictures keep their EXIF data."""
        raise AssertionError(f"asked for a copy of {len(data)} bytes")


@asynccontextmanager
async def hashing_taggers(*_: object, **__: object) -> AsyncIterator[Taggers]:
    """Return taggers whose tags are computed from the bytes."""
    options = TaggerOptions(
        scoring="softmax",
        top_k=4,
        batch_max_images=32,
        batch_max_pixels=10**9,
        preprocessing="hash-1",
        templates=DEFAULT_TEMPLATES,
        background=("a photo",),
    )
    model = HashModel()
    yield Taggers(
        ClipTagger(PromptDecoder(), model, options), ClipTagger(PatientDecoder(), model, options), 1
    )


def substitute() -> None:
    """Replace the model, the decoders and the lemmatizer by light doubles."""
    lemmatizer = Lemmatizer("")
    heavy: dict[str, Any] = {
        "consumers.query.main.Lemmatizer": lambda _exceptions: lemmatizer,
        "consumers.delivery.main.DecodePool": NoPictures,
        "consumers.tagging.main.open_taggers": hashing_taggers,
        "consumers.tagging.main.SlowLane": partial(SlowLane, lease_s=PARKED_LEASE_S),
        "consumers.delivery.lanes.EXPIRE_INTERVAL_S": EXPIRE_INTERVAL_S,
    }
    for name, light in heavy.items():
        module, _, attribute = name.rpartition(".")
        if not hasattr(sys.modules[module], attribute):
            raise AttributeError(name)
        setattr(sys.modules[module], attribute, light)


def set_limits() -> None:
    """Set the loop's limits; CRASHING_ISOLATE_AFTER is the number of deaths until isolation."""
    deaths = int(os.environ.get("CRASHING_ISOLATE_AFTER", LIMITS.crash_isolate_after))
    setattr(  # noqa: B010  # a name that it does not export
        consumers.runtime, "LOOP_LIMITS", replace(LIMITS, crash_isolate_after=deaths)
    )


def shift_clock(seconds: float) -> None:
    """Shift the wall clock of this process: only `datetime.now` in our packages."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        is_ours = name.partition(".")[0] in {"consumers", "core"}
        if is_ours and getattr(module, "datetime", None) is datetime:
            setattr(module, "datetime", Shifted)  # noqa: B010  # a module's own name


async def live(trap: Trap, orders: int) -> None:
    """Run the roles until SIGTERM; new aims arrive through the pipe."""
    beginning = Beginning(is_held=False)
    loop = asyncio.get_running_loop()
    loop.add_reader(orders, lambda: trap.set(json.loads(os.read(orders, 4096) or "{}")))
    calm_collector()
    async with asyncio.TaskGroup() as roles:
        roles.create_task(consumers.tagging.main.main(beginning))
        roles.create_task(consumers.query.main.main(beginning))
        roles.create_task(consumers.delivery.main.main(beginning))


@dataclass(slots=True)
class Nursery:
    """Forks lives and waits for their ends."""

    pipes: dict[int, int]

    def start(self, order: dict[str, Any]) -> dict[str, Any]:
        """Fork a life."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid:
            os.close(ours)
            self.pipes[pid] = theirs
            return {"pid": pid}
        os.close(theirs)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # so no socket of uvloop gets number 0
        os.dup2(2, 1)
        code = 1
        try:
            os.environ |= order.get("environment", {})
            trap = Trap()
            trap.set(order)
            failpoints.arm(trap.spring)
            set_limits()
            shift_clock(float(os.environ.get("CRASHING_CLOCK_SHIFT_S", "0")))
            mutations.apply(str(order.get("mutation", "")))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(live(trap, ours))
            code = 0
        except BaseException:  # noqa: BLE001  # a fork must not run its parent's code
            structlog.get_logger().exception("life_ended")
        finally:
            os._exit(code)

    def arm(self, order: dict[str, Any]) -> dict[str, Any]:
        """Set the aim of a running life."""
        os.write(self.pipes[order["pid"]], json.dumps(order).encode())
        return {}

    def wait(self, order: dict[str, Any]) -> dict[str, Any]:
        """Wait for a life's end."""
        deadline = time.monotonic() + float(order["timeout_s"])
        while True:
            pid, status = os.waitpid(order["pid"], os.WNOHANG)
            if pid:
                os.close(self.pipes.pop(pid))
                if os.WIFSIGNALED(status):
                    return {"signal": os.WTERMSIG(status)}
                return {"code": os.WEXITSTATUS(status)}
            if time.monotonic() > deadline:
                return {"alive": True}
            time.sleep(0.01)


def main() -> None:
    """Carry out orders until the standard input ends; then kill all lives."""
    logs.configure(load(TelemetrySettings), process="crashing")
    substitute()
    nursery = Nursery({})
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(nursery, order["do"])(order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in nursery.pipes:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
