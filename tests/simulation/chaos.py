"""What goes wrong in a simulation, drawn from its seed."""

import asyncio
from collections.abc import Callable
from random import Random

from core.failpoints import POINTS
from core.messaging.limits import LoopLimits
from core.settings import ConsumerSettings
from tests.simulation.records import REASONS, Plan
from tests.simulation.world import World

#: Steps of the loop; the roles' own are not simulated.
STEPS = tuple(
    point
    for point in POINTS
    if point.split(".")[0]
    in {"join", "claim", "intake", "prepare", "commit", "dispatch", "advise", "sweep", "leave"}
)
INSTANCES = "abc"
FROZEN_S = (1.0, 4.0, 7.0, 12.0, 25.0)  # below and above the session and the idle limit
AWAY_S = (0.2, 1.0, 4.0, 15.0)
AGAIN_S = (0.0, 0.3, 2.0, 14.0)


def a_plan(random: Random) -> Plan:
    """Some dozens of numbers; a few of them are not good."""
    count = random.randint(20, 60)
    kinds: list[str | None] = [""] * count
    for kind in REASONS:
        if kind != "kill" or random.random() < 0.15:
            for number in random.sample(range(count), random.choice((0, 0, 1, 2))):
                kinds[number] = kind
    for number in random.sample(range(count), random.choice((0, 0, 3))):
        kinds[number] = None  # compacted away, or the marker of a transaction
    return Plan(kinds)


def some_settings(random: Random) -> tuple[ConsumerSettings, LoopLimits]:
    """Small batches and queues, any depth."""
    batch_max_records = random.choice((1, 3, 7, 20))
    limits = LoopLimits(
        queue_max_records=random.choice((4, 20, 100)),
        pipeline_depth=random.choice((1, 2, 2, 3)),
        advisory_commit_interval_s=random.choice((0.2, 1.0)),
    )
    settings = ConsumerSettings(
        batch_max_records=batch_max_records,
        drain_timeout_s=random.choice((0.5, 5.0, 25.0)),
        stall_limit_s=10_000,  # what stands still is found by `World.until_quiet`
    )
    return settings, limits


class Chaos:
    """Disturbs a world for a while, then leaves it alone."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._deeds: tuple[Callable[[], None], ...] = (
            self._kill,
            self._kill,
            self._kill_at_a_step,
            self._kill_at_a_step,
            self._freeze,
            self._freeze,
            self._freeze_at_a_step,
            self._freeze_at_a_step,
            self._come_or_go,
            self._come_or_go,
            self._rebalance_for_nothing,
            self._broker_away,
            self._database_away,
            self._database_restarts,
            self._bad_network,
            self._slow_network,
            self._slow_roles,
            self._late_records,
        )

    async def run(self) -> None:
        """Begin with some members, disturb, heal."""
        random, world = self._random, self._world
        for instance in INSTANCES[: random.randint(1, 3)]:
            world.start(instance)
        for _ in range(random.randint(2, 12)):
            random.choice(self._deeds)()
            await asyncio.sleep(random.choice((0.0, 0.01, 0.05, 0.3, 2.0, 6.0)))
        self._heal()

    def _heal(self) -> None:
        for wire in (self._world.kafka, self._world.sql):
            wire.lost = wire.unheard = wire.slow = 0.0
        self._world.prepare_away = 0.0
        self._world.prepare_s = (0.0, 0.001, 0.02)
        for running in self._world.running.values():
            running.trap = None

    def _somebody(self) -> str | None:
        names = sorted(self._world.running)
        return self._random.choice(names) if names else None

    def _kill(self) -> None:
        name = self._somebody()
        if name:
            self._world.kill(self._world.running[name].life, again_s=self._random.choice(AGAIN_S))

    def _freeze(self) -> None:
        name = self._somebody()
        if name:
            self._world.freeze(self._world.running[name].life, self._random.choice(FROZEN_S))

    def _kill_at_a_step(self) -> None:
        self._trap("kill", self._random.choice(AGAIN_S))

    def _freeze_at_a_step(self) -> None:
        self._trap("freeze", self._random.choice(FROZEN_S))

    def _trap(self, what: str, seconds: float) -> None:
        name = self._somebody()
        if name:
            at = (self._random.choice(STEPS), self._random.randint(1, 3))
            self._world.running[name].trap = (*at, what, seconds)

    def _come_or_go(self) -> None:
        name = self._random.choice(INSTANCES)
        running = self._world.running.get(name)
        if running is None:
            self._world.start(name)
        else:
            running.stop.set()

    def _rebalance_for_nothing(self) -> None:
        """A member leaves and comes back at once: its partitions go A, B, A."""
        name = self._somebody()
        if name:
            self._world.broker.leave(self._world.running[name].client.member_id)

    def _broker_away(self) -> None:
        world = self._world
        world.kafka.is_away = world.broker.is_away = True
        world.loop.call_later(self._random.choice(AWAY_S), self._broker_back)

    def _broker_back(self) -> None:
        self._world.kafka.is_away = self._world.broker.is_away = False

    def _database_away(self) -> None:
        self._world.sql.is_away = True
        self._world.database.restart()
        self._world.loop.call_later(self._random.choice(AWAY_S), self._database_back)

    def _database_back(self) -> None:
        self._world.sql.is_away = False

    def _database_restarts(self) -> None:
        self._world.database.restart()

    def _bad_network(self) -> None:
        wire = self._random.choice((self._world.kafka, self._world.sql))
        wire.lost, wire.unheard = self._random.choice(((0.1, 0.1), (0.0, 0.4), (0.4, 0.0)))

    def _slow_network(self) -> None:
        self._random.choice((self._world.kafka, self._world.sql)).slow = 0.2

    def _slow_roles(self) -> None:
        self._world.prepare_s = (0.0, 0.3, 3.0)
        self._world.prepare_away = self._random.choice((0.0, 0.3))

    def _late_records(self) -> None:
        """More comes while all this goes on."""
        for _ in range(self._random.randint(1, 15)):
            self._world.more()
