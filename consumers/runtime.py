"""The runtime of every role: pool, publisher, outbox, metrics, the loop and further tasks."""

import asyncio
import faulthandler
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog
from prometheus_client import CollectorRegistry

from core.messaging.kafka.consumer import GroupConsumer
from core.messaging.kafka.eviction import evict
from core.messaging.kafka.producer import Publisher
from core.messaging.limits import LOOP_LIMITS
from core.messaging.loop import calm_collector, run_role
from core.messaging.outbox import OutboxPublisher
from core.messaging.role import Role
from core.messaging.session import Isolation, RoleParts
from core.offsets import Owner
from core.settings import (
    ConsumerSettings,
    DatabaseSettings,
    KafkaSettings,
    OutboxSettings,
    TelemetrySettings,
    load,
)
from core.starting import taken_over
from core.storage.pool import Pool, open_pool
from core.storage.stream import dead_letters, heartbeats, members, outbox, progress
from core.telemetry.exposition import expose, expose_on
from core.telemetry.heart import Heart
from core.telemetry.metrics import Metrics, watch_process
from schemas.record import Record
from schemas.topics import GROUPS

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: After an error: time for the parts to close, after which the process ends in any case.
CLEAN_UP_S = 15.0

#: A task that runs beside the loop until the event is set.
Companion = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Runtime:
    """The opened parts that all roles share.

    Attributes:
        name: the role's, and its consumer group's where it has one only.
        outbox: for events that are written outside the loop.
    """

    name: str
    pool: Pool
    publisher: Publisher
    outbox: OutboxPublisher
    metrics: Metrics
    kafka: KafkaSettings
    consumer: ConsumerSettings
    outbox_settings: OutboxSettings


@dataclass(frozen=True, slots=True)
class Subscription(Generic[E, P]):
    """One topic that a process reads, as a member of the topic's consumer group.

    Attributes:
        about: what its heartbeats say beside what all say.
    """

    group: str
    role: Role[E, P]
    decode: Callable[[Record], E]
    about: Mapping[str, str] = field(default_factory=dict)


def open_metrics(listening: int | None = None) -> Metrics:
    """Return the metrics of this process, which answers scrapes from now on.

    Args:
        listening: the descriptor of a socket that listens for scrapes; None: settings say where.
    """
    telemetry, metrics = load(TelemetrySettings), Metrics(CollectorRegistry())
    watch_process(metrics)
    if listening is None:
        expose(metrics, host=telemetry.metrics_host, port=telemetry.metrics_port)
    else:
        expose_on(metrics, taken_over(listening))
    return metrics


@asynccontextmanager
async def open_runtime(
    role: str, metrics: Metrics | None = None, *, listening: int | None = None
) -> AsyncIterator[Runtime]:
    """Open what a role needs; neither broker nor database has to be there yet.

    Args:
        role: its name.
        metrics: those of a role that measures its loading; None: they are opened here.
        listening: as `open_metrics` takes it.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    kafka, database, consumer = load(KafkaSettings), load(DatabaseSettings), load(ConsumerSettings)
    metrics = metrics or open_metrics(listening)
    name = f"photo-archive-{role}"
    client_id = f"{name}-{socket.gethostname()}-{os.getpid()}"
    async with (
        open_pool(database, application=name) as pool,
        Publisher(kafka, metrics, client_id=client_id) as publisher,
    ):
        yield Runtime(
            name=role,
            pool=pool,
            publisher=publisher,
            outbox=OutboxPublisher(pool, outbox, publisher),
            metrics=metrics,
            kafka=kafka,
            consumer=consumer,
            outbox_settings=load(OutboxSettings),
        )


async def run(
    runtime: Runtime,
    role: Role[E, P],
    decode: Callable[[Record], E],
    stop: asyncio.Event,
    companions: Sequence[Companion] = (),
) -> None:
    """Run the loop of the role's only topic, as `run_all`."""
    await run_all(runtime, [Subscription(runtime.name, role, decode)], stop, companions)


async def run_all(
    runtime: Runtime,
    subscriptions: Sequence[Subscription[Any, Any]],
    stop: asyncio.Event,
    companions: Sequence[Companion] = (),
) -> None:
    """Run a loop per topic (with its outbox sweeper) and the companions until `stop` is set.

    If a part ends by itself the process ends, since it must not run without one of its parts.
    """
    isolation = Isolation()
    loops = [_parts(runtime, one, isolation) for one in subscriptions]
    heart = _heart(runtime, subscriptions, loops)
    calm_collector()
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(_companion(companion, ended))
            for companion in (*companions, heart.run)
        ]
        await asyncio.gather(*(group.create_task(_loop(parts, stop)) for parts in loops))
        ended.set()
        await asyncio.gather(*beside)


def _heart(
    runtime: Runtime,
    subscriptions: Sequence[Subscription[Any, Any]],
    loops: Sequence[RoleParts[Any, Any]],
) -> Heart:
    """Return what writes the heartbeats of all parts, the loops of these subscriptions first."""
    signs = runtime.metrics.signs
    for one, parts in zip(subscriptions, loops, strict=True):
        vitals = signs.part(*parts.vitals_name, runtime.consumer.stall_limit_s)
        vitals.about.update(one.about)
    return Heart(runtime.pool, heartbeats, signs, loops[0].instance)


async def _loop(parts: RoleParts[E, P], stop: asyncio.Event) -> None:
    with _ending_soon():
        await run_role(parts, stop)


async def _companion(companion: Companion, ended: asyncio.Event) -> None:
    with _ending_soon():
        await companion(ended)
        if not ended.is_set():
            raise RuntimeError(f"{companion!r} ended unasked")


@contextmanager
def _ending_soon() -> Iterator[None]:
    """End the process after an error, even if its clean-up hangs: a member that runs on without
    one of its parts would hold its partitions for ever
    (docs/research/runtime.md, section 2.4).
    """  # noqa: D205
    try:
        yield
    except Exception:
        timer = threading.Timer(CLEAN_UP_S, _give_up)
        timer.daemon = True
        timer.start()
        raise


def _give_up() -> None:
    faulthandler.dump_traceback(all_threads=True)
    os._exit(70)


def _parts(
    runtime: Runtime, subscription: Subscription[E, P], isolation: Isolation
) -> RoleParts[E, P]:
    group, settings = subscription.group, runtime.consumer
    host = socket.gethostname()
    instance = settings.instance or f"{group}-{host}-0"
    return RoleParts(
        role=subscription.role,
        owner=Owner(
            group=group,
            name=f"{instance}/{os.getpid()}/{secrets.token_hex(4)}",
            isolate_after=LOOP_LIMITS.crash_isolate_after,
            # Only records handed to `prepare` can have killed a process, not queued ones.
            isolate_span=settings.batch_max_records * (LOOP_LIMITS.pipeline_depth + 1),
        ),
        instance=instance,
        topic=GROUPS[group],
        decode=subscription.decode,
        client=GroupConsumer(
            runtime.kafka, group=group, topic=GROUPS[group], client_id=f"{instance}-{os.getpid()}"
        ),
        evict=lambda member_id: evict(runtime.kafka, group=group, member_id=member_id),
        database=runtime.pool,
        ledger=progress,
        members=members,
        dead_letters=dead_letters,
        outbox=outbox,
        publisher=runtime.publisher,
        settings=settings,
        outbox_settings=runtime.outbox_settings,
        metrics=runtime.metrics,
        limits=LOOP_LIMITS.with_room_for(settings.batch_max_records),
        isolation=isolation,
    )
