"""One simulated archive: a log, a database, members that come and go, and what must hold."""

import asyncio
import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from random import Random

from prometheus_client import CollectorRegistry

from core.errors import (
    BrokerAway,
    DatabaseAway,
)
from core.messaging.limits import LoopLimits
from core.messaging.loop import run_role
from core.messaging.session import Backoff, RoleParts
from core.offsets import Owner
from core.settings import ConsumerSettings, OutboxSettings
from core.telemetry.metrics import Metrics
from tests.counting import TOPIC
from tests.simulation.broker import SimBroker, SimLog
from tests.simulation.client import SimClient
from tests.simulation.clock import LIFE, Condition, Life, VirtualLoop
from tests.simulation.database import SimDatabase
from tests.simulation.ports import (
    Connection,
    SimDeadLetters,
    SimLedger,
    SimMembers,
    SimOutbox,
    SimPublisher,
)
from tests.simulation.records import PARTITIONS, REASONS, Plan, SimRole, decode
from tests.simulation.wire import Wire

QUIET_LIMIT_S = 400.0  # a record that kills its process takes seven lives and their sessions
STOP_LIMIT_S = 60.0
SETTLED_S = 3.0  # all work done, all claimed: what is under way comes to its end


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Running:
    """A life at work."""

    life: Life
    stop: asyncio.Event
    task: "asyncio.Task[None]"
    client: SimClient
    trap: tuple[str, int, str, float] | None = None


@functools.cache
def _metrics() -> Metrics:
    """One for all simulations: what they measure is of no interest, making them is slow."""
    return Metrics(CollectorRegistry())


class World:
    """Everything of one seed.

    Attributes:
        ledger: the class of the members' ledger; the other parts of a mutation likewise.
    """

    def __init__(self, random: Random, plan: Plan) -> None:
        self.random = random
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.database = SimDatabase()
        self.log = SimLog()
        for number in range(len(plan.kinds)):
            partition, _ = plan.place(number)
            self.log.records.setdefault(partition, []).append(plan.record(number))
        self.broker = SimBroker(self.log, self.database)
        self.kafka = Wire(random, BrokerAway)
        self.sql = Wire(random, DatabaseAway)
        self.prepare_s: Sequence[float] = (0.0, 0.001, 0.02)
        self.prepare_away = 0.0
        self.running: dict[str, Running] = {}
        self.graves: list[Running] = []
        self.ended: list[str] = []
        self.settings = ConsumerSettings()
        self.limits = LoopLimits()
        self.took_s = 0.0
        self._lives = self._to_come = 0
        self._context = copy_context()
        self._watching = self.loop.create_task(self.broker.watch())

    # --- members

    def start(self, instance: str) -> None:
        """Begin a life of this instance."""
        self._lives += 1
        life = Life(instance, self._lives)
        context = copy_context()
        context.run(LIFE.set, life)
        client = SimClient(self.broker, self.kafka, self.random)
        stop = asyncio.Event()
        parts = self._parts(life, client)
        task = self.loop.create_task(run_role(parts, stop), context=context)
        running = Running(life, stop, task, client)
        self.running[instance] = running
        task.add_done_callback(lambda _: self._over(running), context=self._context)
        self.database.note("start", repr(life))

    def _over(self, running: Running) -> None:
        if self.running.get(running.life.instance) is running and not self.kafka.is_over:
            del self.running[running.life.instance]
            error = None if running.task.cancelled() else running.task.exception()
            if error is not None or not running.stop.is_set():
                self.ended.append(f"{running.life}: {error!r}")

    def kill(self, life: Life, *, again_s: float = 0.5) -> None:
        """SIGKILL; its supervisor begins another life after so many seconds."""
        if life.condition is Condition.DEAD or self.kafka.is_over:
            return
        life.condition = Condition.DEAD
        self.database.note("kill", repr(life))
        self.database.disconnected(life)
        self.graves.append(self.running.pop(life.instance))
        self._to_come += 1
        self.loop.call_later(again_s, self._start_again, life.instance, context=self._context)

    def _start_again(self, instance: str) -> None:
        self._to_come -= 1
        if instance not in self.running:
            self.start(instance)

    def freeze(self, life: Life, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        if life.runs and not self.kafka.is_over:
            life.condition = Condition.FROZEN
            self.database.note("freeze", repr(life), seconds)
            self.loop.call_later(seconds, self._thaw, life, context=self._context)

    def _thaw(self, life: Life) -> None:
        if life.condition is Condition.FROZEN and isinstance(self.loop, VirtualLoop):
            self.database.note("thaw", repr(life))
            self.loop.thaw(life)

    def step(self, point: str) -> None:
        """A life has reached a named step: what lies in wait for it there happens."""
        life = LIFE.get()
        running = self.running.get(life.instance) if life is not None else None
        if life is None or running is None or running.life is not life or running.trap is None:
            return
        at, nth, what, seconds = running.trap
        if at != point:
            return
        running.trap = (at, nth - 1, what, seconds) if nth > 1 else None
        if nth == 1:
            self.database.note(what, repr(life), point)
            if what == "kill":
                self.kill(life, again_s=seconds)
            else:
                self.freeze(life, seconds)

    def _parts(self, life: Life, client: SimClient) -> RoleParts[tuple[int, str], int]:

        async def evict(member_id: str) -> bool:
            async def leave() -> bool:
                return self.broker.leave(member_id)

            return await self.kafka.call(leave)

        return RoleParts(
            role=SimRole(self, life, self._refused()),
            owner=Owner("g", repr(life), isolate_after=2, isolate_span=10),
            instance=life.instance,
            topic=TOPIC,
            decode=decode,
            client=client,
            evict=evict,
            database=Connection(self.database, self.sql, life),
            ledger=SimLedger(),
            members=SimMembers(),
            dead_letters=SimDeadLetters(),
            outbox=SimOutbox(),
            publisher=SimPublisher(self.broker, self.kafka),
            settings=self.settings,
            outbox_settings=OutboxSettings(),
            limits=self.limits,
            metrics=_metrics(),
            # No jitter: the session's own random source has no seed.
            backoff=Backoff(longest_s=2.0, jitter=0.0),
        )

    def _refused(self) -> frozenset[int]:
        return frozenset(n for n, kind in enumerate(self.plan.kinds) if kind == "refuse")

    # --- the end

    async def until_quiet(self) -> None:
        """Wait until all is done; then one more record for each partition must be done too.

        A zombie's claim may have locked the rightful owner out, who learns of it by his next move.

        Raises:
            Broken: it never is.
        """
        deadline = self.loop.time() + QUIET_LIMIT_S
        await self._wait_for(self._is_done, deadline)
        for _ in PARTITIONS:
            self.more()
        await self._wait_for(self._is_quiet, deadline)

    def more(self) -> None:
        """One more record."""
        number = len(self.plan.kinds)
        self.plan.kinds.append("")
        partition, _ = self.plan.place(number)
        self.log.records[partition].append(self.plan.record(number))

    async def _wait_for(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait until it has held for a while without a rebalance."""
        since, generation = self.loop.time(), self.broker.generation
        while not condition() or self.loop.time() - since < SETTLED_S:
            if not condition() or generation != self.broker.generation:
                since, generation = self.loop.time(), self.broker.generation
            if not self.running and not self._to_come:  # the last one was asked to stop
                self.start("a")
            self._check_always()
            if self.loop.time() > deadline:
                stand = {p.number: row.next_offset for p, row in self.database.rows.items()}
                raise Broken(f"stuck: {stand}, outbox {len(self.database.outbox)}")
            await asyncio.sleep(0.5)

    def _is_done(self) -> bool:
        rows = self.database.rows
        ends = {p: self.log.bounds(p)[1] for p in self.log.records}
        done = {p: row.next_offset for p, row in rows.items()} == ends
        return done and not self.database.outbox and not self._to_come

    def _is_quiet(self) -> bool:
        """Done, nothing is broken any more, and every partition is owned by whom it was given."""
        owners = {
            partition: repr(one.life)
            for one in self.running.values()
            for partition in one.client.held
        }
        return (
            self._is_done()
            and not (self.kafka.is_away or self.sql.is_away)
            and all(one.life.runs for one in self.running.values())
            and owners == {partition: row.owner for partition, row in self.database.rows.items()}
        )

    async def stop_all(self) -> None:
        """Stop every member cleanly.

        Raises:
            Broken: one does not end.
        """
        tasks = [running.task for running in self.running.values()]
        for running in self.running.values():
            running.stop.set()
        await asyncio.wait(tasks, timeout=STOP_LIMIT_S)
        if not all(task.done() for task in tasks):
            raise Broken("a member does not stop")

    def judge(self) -> None:
        """What went in is what came out.

        Raises:
            Broken: it is not.
        """
        self._check_always()
        good = {n for n, kind in enumerate(self.plan.kinds) if kind == ""}
        done = Counter(effect.number for effect in self.database.effects)
        if done != Counter(good):
            lost, twice = sorted(good - done.keys()), sorted(n for n in done if done[n] > 1)
            raise Broken(f"lost {lost}, twice {twice}, odd {sorted(done.keys() - good)}")
        for partition in PARTITIONS:
            offsets = [e.offset for e in self.database.effects if e.partition == partition]
            if offsets != sorted(offsets):
                raise Broken(f"{partition} out of order: {offsets}")
        self._judge_letters()
        told = {json.loads(one.value)[0] for one in self.broker.published if one.topic == "out"}
        if told != good:
            raise Broken(f"not told: {sorted(good - told)}, told too much: {sorted(told - good)}")
        owned = [row for row in self.database.rows.values() if row.owner]
        if owned:
            raise Broken(f"not given back: {owned}")

    def _judge_letters(self) -> None:
        kinds = {self.plan.place(n): kind for n, kind in enumerate(self.plan.kinds)}
        expected = {place: REASONS[kind] for place, kind in kinds.items() if kind}
        # Before an unreadable record the client cannot tell a gap: an empty letter too many.
        letters = {
            place: reason
            for place, reason in self.database.letters.items()
            if kinds[place] is not None or reason != "unreadable_record"
        }
        if letters != expected:
            wrong = letters.items() ^ expected.items()
            raise Broken(f"dead letters: {sorted(wrong)}")

    def _check_always(self) -> None:
        wrong = self.database.broken + self.broker.broken + self.ended
        if wrong:
            raise Broken("; ".join(wrong))

    async def bury(self) -> None:
        """End what is left, so that nothing is collected half-way."""
        self._watching.cancel()
        for wire in (self.kafka, self.sql):
            wire.is_over = True
        for running in (*self.graves, *self.running.values()):
            if isinstance(self.loop, VirtualLoop):
                self.loop.thaw(running.life)
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)  # a coroutine that never began would be warned of
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
