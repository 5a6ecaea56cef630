"""One seed, one run."""

import asyncio
import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from core import failpoints
from tests.simulation.chaos import Chaos, a_plan, some_settings
from tests.simulation.clock import VirtualLoop
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Run:
    """What a run came to.

    Attributes:
        broken: which invariant does not hold; '' if all do.
        history: what was committed, and what went wrong when.
        took_s: virtual seconds.
    """

    seed: int
    broken: str
    history: tuple[tuple[object, ...], ...]
    logs: tuple[Any, ...]
    took_s: float

    @property
    def digest(self) -> str:
        """The same for the same run."""
        return hashlib.sha256(repr(self.history).encode()).hexdigest()[:16]

    def told(self) -> str:
        """For who looks into a failure."""
        events = "\n".join(map(str, self.history[-120:]))
        logs = "\n".join(map(str, self.logs[-60:]))
        again = f"SEED={self.seed} pytest tests/simulation -k seeds"
        return f"{events}\n{logs}\nseed {self.seed}: {self.broken}\nagain: {again}"


def run(seed: int) -> Run:
    """Simulate one seed."""
    with structlog.testing.capture_logs() as logs, asyncio.Runner(loop_factory=VirtualLoop) as loop:
        broken, world = loop.run(_simulate(Random(seed)))
    return Run(seed, broken, tuple(world.database.history), tuple(logs), world.took_s)


async def _simulate(random: Random) -> tuple[str, World]:
    world = World(random, a_plan(random))
    world.settings, world.limits = some_settings(random)
    failpoints.arm(world.step)
    try:
        await Chaos(world, random).run()
        await world.until_quiet()
        await world.stop_all()
        world.judge()
    except AssertionError as error:
        return f"{error}", world
    finally:
        world.took_s = world.loop.time()
        failpoints._springs.remove(world.step)
        await world.bury()
    return "", world
