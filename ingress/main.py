"""Composition root of the HTTP face: opens PostgreSQL, Kafka and blobs, and serves the routes."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from core.addresses import each_host
from core.blobs.places import open_store
from core.blobs.roots import Roots
from core.blobs.store import BlobStore
from core.blobs.thumbs import thumb_keeper_of
from core.egress.client import EgressLimits, GuardedClient
from core.egress.guard import TargetGuard
from core.egress.own_ports import inbox_prefix, own_ports
from core.egress.resolver import HostResolver
from core.egress.targets import TargetPolicy
from core.errors import ConfigurationError
from core.messaging.kafka.outside import LogBounds
from core.messaging.kafka.producer import Publisher
from core.messaging.limits import CLIENT_LIMITS
from core.messaging.outbox import OutboxPublisher, Sweeper
from core.settings import (
    ArchiveSettings,
    DatabaseSettings,
    DecodeSettings,
    EgressSettings,
    IngressSettings,
    KafkaSettings,
    OutboxSettings,
    QuerySettings,
    SecretSettings,
    StandaloneSettings,
    TaggingSettings,
    TelemetrySettings,
    base_url,
    load,
)
from core.storage.archive.blobs import PostgresBlobs
from core.storage.pool import Pool, open_pool
from core.storage.stream import heartbeats, outbox
from core.storage.thumbs import PostgresThumbs
from core.telemetry.heart import Heart
from core.telemetry.metrics import Metrics, watch_process
from core.vision.decoding import sniff
from core.vision.decoding.decoder import DecodePool, thumb_limits
from core.webhooks.links import PURPOSE
from core.webhooks.signing_secrets import SecretBox
from ingress.app import create_app
from ingress.auth.access import KeyRing
from ingress.auth.sessions import TRIES_BURST, TRIES_PER_S, SessionRing
from ingress.departures import Departures
from ingress.dependencies import UTC_NOW, Dependencies, Guards
from ingress.facts import model_name, read_facts, version_of_project
from ingress.http.limits import THUMBS_PER_S, Places, RateLimit, SharedBudget, burst_of
from ingress.http.turns import DatabaseTurns
from ingress.live.broker_probe import BrokerProbe
from ingress.live.pipeline_metrics import PipelineMetrics
from ingress.live.poller import poller_of
from ingress.live.servers_watch import ServersWatch
from ingress.live.watching import PipelineWatch
from ingress.reading.files import RootedFiles
from ingress.reading.language import TextReader
from ingress.reading.lent_decoders import LentDecoders
from ingress.reading.thumbs import Thumbs
from ingress.server import Server, allow_descriptors, listen, make_server, stop_on_signals

log = structlog.get_logger(__name__)

IDENTIFY_PAUSE_S = 5.0
#: Wrong keys from one address: a handful at once, then one per second.
WRONG_KEYS_PER_S, WRONG_KEYS_BURST = 1.0, 20


@dataclass(frozen=True, slots=True)
class Opened:
    """What the routes need, and what runs beside the server."""

    deps: Dependencies
    sweeper: Sweeper
    broker: BrokerProbe
    heart: Heart
    servers: ServersWatch


async def serve(inherited: int | None = None) -> None:
    """Serve until a signal ends it.

    Args:
        inherited: the descriptor of a socket that listens already; None: it is made here.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    settings = load(IngressSettings)
    settings.check_certificate()  # first: nothing else is worth a line of the log before it
    async with open_dependencies(settings) as opened:
        deps, stop = opened.deps, asyncio.Event()
        server = make_server(create_app(deps), settings, deps.readiness)
        stop_on_signals(server)
        allow_descriptors(settings.max_connections)
        with listen(settings, inherited) as listening:
            log.info("serving", address=deps.base_url, model=deps.model)
            await _run(server, listening, opened, stop)
        await deps.departures.drain(within_s=CLIENT_LIMITS.publish_timeout_s)
        log.info("stopped")


async def _run(
    server: Server, listening: socket.socket, opened: Opened, stop: asyncio.Event
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(_companion(one, stop))
                for one in (opened.sweeper, opened.heart, opened.deps.pipeline, opened.servers)
            ]
            naming = group.create_task(_learn_cluster(opened))
            await server.serve(sockets=[listening])
            stop.set()
            naming.cancel()
            await asyncio.gather(*beside)
    except* ConfigurationError as wrong:  # the sweeper is the first to ask the database
        raise ConfigurationError(str(wrong.exceptions[0])) from wrong


@asynccontextmanager
async def open_dependencies(settings: IngressSettings) -> AsyncIterator[Opened]:
    """Open everything; neither broker nor database has to be there yet.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    database = load(DatabaseSettings)
    kafka, outbox_settings = load(KafkaSettings), load(OutboxSettings)
    metrics = Metrics(CollectorRegistry())
    watch_process(metrics)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                database,
                application="photo-archive-ingress",
                turn=DatabaseTurns(max(1, database.pool_size // 2)).turn,
            )
        )
        publisher = await stack.enter_async_context(
            Publisher(kafka, metrics, client_id="photo-archive-ingress")
        )
        targets = _target_guard(stack, settings, kafka)
        client = await stack.enter_async_context(
            GuardedClient(targets, EgressLimits.from_settings(load(EgressSettings)))
        )
        broker, pipeline = BrokerProbe(kafka), _pipeline(stack, pool, kafka, metrics)
        archive, asking = load(ArchiveSettings), load(QuerySettings)
        blobs = open_store(archive, client, PostgresBlobs(pool))
        address = base_url(archive, settings)
        sealing = _sealing()
        deps = Dependencies(
            settings=settings,
            base_url=address,
            max_query_chars=asking.max_chars,
            pool=pool,
            guards=_guards(settings, address, pool, targets, sealing),
            blobs=blobs,
            thumbs=await stack.enter_async_context(_open_thumbs(archive, pool, blobs, metrics)),
            keeps_blobs_in_database=archive.blobs.partition(":")[0] == "pg",
            files=RootedFiles(Roots(archive.root_paths())),
            reader=TextReader(pool, asking.exceptions),
            departures=Departures(
                OutboxPublisher(pool, outbox, publisher), outbox_settings.max_rows, time.monotonic
            ),
            metrics=metrics,
            model=model_name(load(TaggingSettings)),
            version=version_of_project(),
            facts=read_facts(),
            kafka_address=kafka.bootstrap_servers,
            brokers=broker.brokers,
            pipeline=pipeline,
            live=poller_of(pool, pipeline, address),
            sealing=sealing,
            expects_standby=len(each_host(database.url.get_secret_value())) > 1,
        )
        yield Opened(
            deps,
            Sweeper(pool, outbox, publisher, outbox_settings, metrics),
            broker,
            _heart(pool, metrics, settings),
            ServersWatch(pool, broker.brokers, metrics, deps.expects_standby),
        )


def _pipeline(
    stack: AsyncExitStack, pool: Pool, kafka: KafkaSettings, metrics: Metrics
) -> PipelineWatch:
    bounds = LogBounds(kafka, client_id="photo-archive-ingress-bounds")
    stack.push_async_callback(bounds.close)
    return PipelineWatch(pool, bounds.of, time.monotonic, PipelineMetrics(metrics).seen)


def _heart(pool: Pool, metrics: Metrics, settings: IngressSettings) -> Heart:
    metrics.signs.part("ingress")
    return Heart(pool, heartbeats, metrics.signs, f"ingress-{socket.gethostname()}-{settings.port}")


def _target_guard(
    stack: AsyncExitStack, settings: IngressSettings, kafka: KafkaSettings
) -> TargetGuard:
    resolver = HostResolver()
    stack.push_async_exit(resolver)
    standalone = load(StandaloneSettings)
    own = own_ports(settings, kafka, load(DatabaseSettings), load(TelemetrySettings), standalone)
    inbox = inbox_prefix(settings, standalone)
    return TargetGuard(TargetPolicy.from_settings(load(EgressSettings), own, inbox), resolver)


def _guards(
    settings: IngressSettings,
    address: str,
    pool: Pool,
    callbacks: TargetGuard,
    sealing: SecretBox | None,
) -> Guards:
    clock = time.monotonic
    keys = KeyRing(pool, RateLimit(WRONG_KEYS_PER_S, WRONG_KEYS_BURST, clock), clock, UTC_NOW)
    tries = RateLimit(TRIES_PER_S, TRIES_BURST, clock)
    return Guards(
        keys=keys,
        sessions=SessionRing(pool, keys, tries, address, clock, UTC_NOW),
        rate=RateLimit(
            settings.requests_per_second, burst_of(settings.requests_per_second), time.monotonic
        ),
        thumb_rate=RateLimit(THUMBS_PER_S, burst_of(THUMBS_PER_S), time.monotonic),
        bodies=SharedBudget(settings.max_bytes_in_flight),
        places=Places.of(settings.max_connections),
        callbacks=callbacks,
        link_keys=sealing.derived_keys(PURPOSE) if sealing else (),
        probe=partial(sniff.probe, limits=sniff.Limits(load(DecodeSettings).max_pixels)),
    )


@asynccontextmanager
async def _open_thumbs(
    archive: ArchiveSettings, pool: Pool, blobs: BlobStore, metrics: Metrics
) -> AsyncIterator[Thumbs]:
    """Yield what finds and makes thumbnails; decoders are started when they are needed."""
    limits = thumb_limits(load(DecodeSettings), archive.fetch_max_bytes)
    decoders = LentDecoders(lambda: DecodePool(limits))
    thumbs = Thumbs(
        thumb_keeper_of(archive.blobs, PostgresThumbs(pool)),
        blobs.read_soon,
        decoders,
        lambda outcome: metrics.thumbs.labels("request", outcome).inc(),
    )
    try:
        yield thumbs
    finally:
        await thumbs.close()
        await decoders.close()


def _sealing() -> SecretBox | None:
    settings = load(SecretSettings)
    if not settings.key.get_secret_value():
        log.warning("links_disabled", missing="SECRETS_KEY")
        return None
    return SecretBox.from_settings(settings)


async def _companion(
    companion: Sweeper | Heart | PipelineWatch | ServersWatch, stop: asyncio.Event
) -> None:
    await companion.run(stop)
    if not stop.is_set():
        raise RuntimeError(f"{companion!r} ended unasked")


async def _learn_cluster(opened: Opened) -> None:
    """Learn the cluster's id for the tokens; the broker may start later than this process."""
    # It polls, because nothing signals that a broker has started.
    while (cluster := await opened.broker.cluster_id()) is None:  # noqa: ASYNC110
        await asyncio.sleep(IDENTIFY_PAUSE_S)
    opened.deps.departures.cluster = cluster
