"""A member of the simulated group with the manners of aiokafka.

They are those of docs/research/runtime.md, sections 2.1 to 2.3:

- a fetch moves the position when it is asked, not when it answers, so a seek in between is undone
  for who does not look;
- records come from the offset that Kafka knows before the claim has sought;
- between revoke and assign the old assignment still stands, and seeks in it work;
- the pair of callbacks comes twice for one generation now and then;
- heartbeats go on while `on_revoked` runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from random import Random

from core.errors import BrokerAway
from core.messaging.ports import Bounds, Garbled, Listener, NotAMember, OutOfLog, Stretch
from core.offsets import Identity
from schemas.record import Partition
from tests.fakes.messaging import stretch_of
from tests.simulation.broker import UNKNOWN, SimBroker
from tests.simulation.wire import Wire

HEARTBEAT_S = 2.5
COMMIT_LIMIT_S = 3.0
STOP_LIMIT_S = 5.0
#: How long an empty fetch takes, in shares of what was asked for; late ones keep idle runs short.
POLLED = (0.1, 1.0, 5.0)
TWICE = 0.1  # share of the assignments that are told twice
GARBLED = b"\xff garbled"


class SimClient:
    """`GroupClient` over the simulated broker."""

    def __init__(self, broker: SimBroker, wire: Wire, random: Random) -> None:
        self.broker = broker
        self.wire = wire
        self.member_id = ""
        self.positions: dict[Partition, int] = {}
        self._random = random
        self._generation = -1
        self._assigned: tuple[Partition, ...] = ()
        self._rejoin = asyncio.Event()
        self._settled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def held(self) -> tuple[Partition, ...]:
        """What the group has given us, between two rebalances."""
        return self._assigned if self._settled.is_set() else ()

    async def start(self, listener: Listener) -> Identity:
        identity = await self.identify()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._coordinate(listener)),
            loop.create_task(self._beat()),
        ]
        await self._settled.wait()
        return identity

    async def identify(self) -> Identity:
        async def look() -> Identity:
            return Identity("cluster", "topic")

        return await self.wire.call(look)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._settled.set()
        if self._tasks and self.member_id and not self.wire.is_over:

            async def leave() -> None:
                self.broker.leave(self.member_id)

            try:
                async with asyncio.timeout(STOP_LIMIT_S):
                    await self.wire.call(leave)
            except (BrokerAway, TimeoutError):
                pass

    # --- membership

    async def _coordinate(self, listener: Listener) -> None:
        while True:
            self._settled.clear()
            self._rejoin.clear()
            await listener.on_revoked()
            await self._join()
            listener.on_assigned(self._assigned)
            if self._random.random() < TWICE:
                await listener.on_revoked()
                listener.on_assigned(self._assigned)
            self._settled.set()
            await self._rejoin.wait()

    async def _join(self) -> None:
        while True:
            try:
                joined = await self.wire.call(lambda: self.broker.join(self.member_id))
            except BrokerAway:
                await asyncio.sleep(0.25)
            else:
                break
        self.member_id, self._generation = joined.member_id, joined.generation
        self._assigned = joined.partitions
        self.positions = dict(joined.committed)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not self._settled.is_set() or not self.member_id:
                continue

            async def beat(who: str = self.member_id, generation: int = self._generation) -> str:
                return self.broker.heartbeat(who, generation)

            try:
                wrong = await self.wire.call(beat)
            except BrokerAway:
                continue
            if wrong == UNKNOWN:
                self.member_id = ""
            if wrong:
                self._rejoin.set()

    # --- records

    async def fetch(
        self, partitions: Iterable[Partition], *, max_records: int, timeout_s: float
    ) -> list[tuple[Partition, Stretch]]:
        await self.wire.stand_still()
        if not self._settled.is_set():
            await self._settled.wait()  # aiokafka does not look at the time limit here
        wanted = list(partitions)
        found = self._drain(wanted, max_records)
        if not found and timeout_s:
            await asyncio.sleep(timeout_s * self._random.choice(POLLED))
            found = self._drain(wanted, max_records)
        await asyncio.sleep(self.wire.a_way_s())
        if self.wire.is_over:
            raise BrokerAway("the simulation is over")
        for _, stretch in found:
            if any(record.value == GARBLED for _, _, record in stretch.records):
                raise Garbled("a header name is no UTF-8")
        return found

    def _drain(self, partitions: Sequence[Partition], room: int) -> list[tuple[Partition, Stretch]]:
        """Take from what was fetched ahead: moves the positions."""
        found = []
        for partition in partitions:
            position = self.positions.get(partition)
            if position is None or self.wire.is_away or not room:
                continue
            if position < self.broker.log.bounds(partition)[0]:
                raise OutOfLog([partition])
            some = self._random.randint(1, room)
            stretch = stretch_of(self.broker.log.records[partition], position, some)
            if stretch is not None:
                self.positions[partition] = stretch.end
                room -= len(stretch.records)
                found.append((partition, stretch))
        return found

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._assigned:
            raise NotAMember(str(partition))
        self.positions[partition] = offset

    # --- offsets

    async def prove(self, offsets: Mapping[Partition, int]) -> None:
        await self._commit(offsets)

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        wanted = {p: offset for p, offset in offsets.items() if p in self._assigned}
        if wanted:
            await self._commit(wanted)

    async def _commit(self, offsets: Mapping[Partition, int]) -> None:
        who, generation = self.member_id, self._generation  # as they are when it is sent

        async def commit() -> str:
            return self.broker.commit(who, generation, offsets)

        wrong = await self._limited(commit)
        if wrong:
            raise NotAMember(wrong)

    async def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        async def look() -> dict[Partition, Bounds]:
            bounds = {p: self.broker.log.bounds(p) for p in partitions}
            return {p: Bounds(start, end, end) for p, (start, end) in bounds.items()}

        return await self.wire.call(look)

    async def _limited(self, effect: Callable[[], Awaitable[str]]) -> str:
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                return await self.wire.call(effect)
        except TimeoutError as error:
            raise BrokerAway("no answer in time") from error
