"""The HTTP face on PostgreSQL; Kafka and the resolver are doubles, time stands still."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from core.blobs.roots import Roots
from core.blobs.store import BlobStore, ReadLimits
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import BrokerAway, DatabaseAway
from core.messaging.kafka.cluster import ClusterLook
from core.messaging.outbox import OutboxPublisher
from core.offsets import Identity, Place
from core.settings import DatabaseSettings, IngressSettings
from core.storage import keys, labels
from core.storage.archive import image_tags, images, parked_images
from core.storage.archive.blobs import PostgresBlobs
from core.storage.archive.images import FailedImage, ImageStatus
from core.storage.archive.parked_images import ParkedImage
from core.storage.keys import NewKey
from core.storage.pool import Pool, open_pool
from core.storage.stream import outbox
from core.storage.thumbs import PostgresThumbs
from core.tags import ImageTags, Made, Slowness, TagScore, score_to_int
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from core.vision.decoding import sniff
from core.webhooks.signing_secrets import SecretBox
from ingress.app import create_app
from ingress.auth.access import KeyRing
from ingress.auth.api_keys import MadeKey, Scope, make_key
from ingress.auth.sessions import TRIES_BURST, TRIES_PER_S, SessionRing
from ingress.departures import Departures
from ingress.dependencies import Dependencies, Guards
from ingress.facts import InstanceFacts
from ingress.http.bodies import MAX_JSON_BYTES
from ingress.http.limits import THUMBS_PER_S, Places, RateLimit, SharedBudget, burst_of
from ingress.live.pipeline_metrics import PipelineMetrics
from ingress.live.poller import poller_of
from ingress.live.rhythm import Rhythm
from ingress.live.watching import PipelineWatch
from ingress.reading.files import RootedFiles
from ingress.reading.language import TextReader
from ingress.reading.thumbs import Thumbs
from schemas.record import Partition, Record
from schemas.topics import IMAGES_ARRIVED
from tests.fakes.publisher import MemoryPublisher
from tests.fakes.resolver import ScriptedResolver
from tests.fakes.thumbs import ScriptedThumbs
from tests.unit.language.loaded import lemmatizer

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINK_KEY = b"k" * 32
PARTITION = 3
#: What is no setting of the ingress.
OF_THE_WORLD = (
    "base_url", "max_json_bytes", "max_pixels", "policy", "probe", "reader", "sealing",
)  # fmt: skip
OWNERS = "SELECT owner FROM image_owners WHERE image_id = $1 ORDER BY owner"
TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


class WatchedPool(Pool):
    """The pool, telling what it is used for.

    Attributes:
        is_away: every use fails.
        commits: transactions that came to their end.
        statements: what was read, as `fetch…` and `execute` of the pool itself were given it.
        events: "taken" and "given back" for each connection, in order.
        most_at_once: connections in use at the same moment.
    """

    is_away = False

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool._inner, pool._acquire_timeout_s)
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.is_away = False
        self.commits = self.at_once = self.most_at_once = 0
        self.statements: list[str] = []
        self.events: list[str] = []

    async def _acquire(self) -> Any:
        if self.is_away:
            raise DatabaseAway("connection refused")
        return await super()._acquire()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        self.events.append("taken")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with super().connection() as connection:
                yield connection
        finally:
            self.at_once -= 1
            self.events.append("given back")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as tx:
            yield tx
        self.commits += 1

    async def execute(self, query: str, *args: Any) -> str:
        self.statements.append(query)
        return await super().execute(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        self.statements.append(query)
        return await super().fetchrow(query, *args)


@dataclass
class SharedDatabase:
    """A database that many tests use one after the other, emptied in between.

    Attributes:
        seeded: tables that a new database has rows in; of these requests change only label_set.
    """

    url: str
    tables: Sequence[str] = ()
    seeded: frozenset[str] = frozenset()

    async def look(self, pool: Pool) -> None:
        """Note which tables there are, and which of them are never empty."""
        self.tables = sorted(row["relname"] for row in await pool.fetch(TABLES))
        self.seeded = frozenset(await self._filled(pool))

    async def empty(self, pool: Pool) -> None:
        """Delete what requests have written."""
        filled = [name for name in await self._filled(pool) if name not in self.seeded]
        if filled:
            await pool.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
        await pool.execute("UPDATE label_set SET version = 0")  # it is never empty

    async def empty_of(self, pool: Pool, *tables: str) -> None:
        """Delete what is in these tables, and what refers to it."""
        await pool.execute(f"TRUNCATE {', '.join(tables)} CASCADE")

    async def _filled(self, pool: Pool) -> list[str]:
        looks = (f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in self.tables)
        return [row[0] for row in await pool.fetch(" UNION ALL ".join(looks))]


@asynccontextmanager
async def opened_pool(url: str) -> AsyncIterator[WatchedPool]:
    async with open_pool(DatabaseSettings(url=SecretStr(url), pool_size=10)) as pool:
        yield WatchedPool(pool)


@dataclass
class World:
    """The application, and what stands around it."""

    settings: IngressSettings
    pool: WatchedPool
    photos: Path
    seconds: float = 1000.0
    now: datetime = NOW
    max_json_bytes: int = MAX_JSON_BYTES
    max_pixels: int = 120_000_000
    probe: Callable[[bytes], sniff.SniffedPicture] | None = None
    reader: type[TextReader] = TextReader
    base_url: str = "http://archive"
    policy: TargetPolicy = field(default_factory=TargetPolicy)
    sealing: SecretBox | None = None
    broker: MemoryPublisher = field(default_factory=MemoryPublisher)

    #: First offset and end of each log, as the broker tells them.
    bounds: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    missing_brokers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.broker.partition = PARTITION
        self.decoder = ScriptedThumbs()
        self.blobs = BlobStore(PostgresBlobs(self.pool), {}, ReadLimits(2**25, 4))
        self.resolver = ScriptedResolver({"example.org": [["93.184.215.14"]]})
        self.deps = self._dependencies()
        self.app = create_app(self.deps)

    def _dependencies(self) -> Dependencies:
        clock = self._clock
        metrics = Metrics(CollectorRegistry())
        pipeline = PipelineWatch(self.pool, self._bounds_of, clock, PipelineMetrics(metrics).seen)
        return Dependencies(
            settings=self.settings,
            base_url=self.base_url,
            max_query_chars=2_000,
            max_json_bytes=self.max_json_bytes,
            pool=self.pool,
            guards=self._guards(),
            blobs=self.blobs,
            thumbs=Thumbs(
                PostgresThumbs(self.pool), self.blobs.read_soon, self.decoder, clock=clock
            ),
            keeps_blobs_in_database=True,
            files=RootedFiles(Roots({"photos": self.photos})),
            reader=self.reader(self.pool, "", _lemmatizer=lemmatizer()),
            departures=Departures(
                OutboxPublisher(self.pool, outbox, self.broker, clock),
                100,
                clock,
                cluster="test-cluster",
            ),
            metrics=metrics,
            model="demo",
            version="1.2.3",
            facts=InstanceFacts(
                is_standalone=False,
                scoring="softmax",
                max_pixels=self.max_pixels,
                unseen=frozenset({"unseen"}),
            ),
            kafka_address="kafka:9092",
            brokers=self._brokers,
            pipeline=pipeline,
            live=poller_of(self.pool, pipeline, "http://archive"),
            rhythm=Rhythm(look_s=0.1, admitted_s=0.2),
            sealing=self.sealing,
            now=self._now,
        )

    def _guards(self) -> Guards:
        clock = self._clock
        limits = sniff.Limits(max_pixels=self.max_pixels)
        ring = KeyRing(self.pool, RateLimit(1, 5, clock), clock, self._now)
        tries = RateLimit(TRIES_PER_S, TRIES_BURST, clock)
        return Guards(
            keys=ring,
            sessions=SessionRing(self.pool, ring, tries, self.base_url, clock, self._now),
            rate=RateLimit(
                self.settings.requests_per_second,
                burst_of(self.settings.requests_per_second),
                clock,
            ),
            thumb_rate=RateLimit(THUMBS_PER_S, burst_of(THUMBS_PER_S), clock),
            bodies=SharedBudget(self.settings.max_bytes_in_flight),
            places=Places.of(self.settings.max_connections),
            callbacks=TargetGuard(self.policy, self.resolver),
            link_keys=(LINK_KEY,),
            probe=self.probe or (lambda content: sniff.probe(content, limits)),
        )

    def _clock(self) -> float:
        return self.seconds

    def _now(self) -> datetime:
        return self.now

    async def _bounds_of(self, topics: Sequence[str]) -> dict[Partition, tuple[int, int]]:
        if self.broker.is_away:
            raise BrokerAway("connection refused")
        return {place: found for place, found in self.bounds.items() if place.topic in topics}

    async def _brokers(self) -> ClusterLook | None:
        if self.broker.is_away:
            return None
        there = tuple(node for node in (1, 2, 3) if node not in self.missing_brokers)
        return ClusterLook(Identity("test-cluster", ""), there, self.missing_brokers)

    async def key(
        self, *scopes: Scope, owner: str = "alice", expires_at: datetime | None = None
    ) -> MadeKey:
        """Make a key that the database knows."""
        made = make_key()
        names = tuple(scope.value for scope in scopes)
        row = NewKey(made.key_id, owner, "", made.digest, names, expires_at)
        await keys.add(self.pool, row)
        return made

    @asynccontextmanager
    async def client(
        self, *scopes: Scope, owner: str = "alice"
    ) -> AsyncIterator[httpx.AsyncClient]:
        """A client with a new key of these scopes; without scopes it has no key."""
        headers = {"X-API-Key": (await self.key(*scopes, owner=owner)).text} if scopes else {}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://archive", headers=headers
        ) as http:
            yield http

    async def image(self, image_id: UUID) -> ImageStatus:
        """The row of an image that is there."""
        status = await images.status(self.pool, image_id)
        assert status is not None
        return status

    async def owners(self, image_id: UUID) -> list[str]:
        """Who owns an image."""
        rows = await self.pool.fetch(OWNERS, image_id)
        return [row["owner"] for row in rows]

    async def count(self, *tables: str) -> int:
        """How many rows these tables have together."""
        return sum([await self.pool.fetchval(f"SELECT count(*) FROM {one}") for one in tables])

    async def paths(self) -> list[str]:
        """The paths of all images."""
        return [row["path"] for row in await self.pool.fetch("SELECT path FROM images")]

    async def outbox(self) -> list[int]:
        """Ids of the events that wait."""
        return [row["id"] for row in await self.pool.fetch("SELECT id FROM outbox ORDER BY id")]

    async def know(self, *names: str) -> None:
        """Add labels that texts may name."""
        async with self.pool.transaction() as tx:
            await labels.ensure(tx, names)

    async def tag(self, image_id: UUID, *tags: tuple[str, float], **found: Any) -> None:
        """What the tagging role would write; `found`: fields of `ImageTags`."""
        row = await self.image(image_id)
        digest = row.sha256 or hashlib.sha256(image_id.bytes).digest()
        made: dict[str, Any] = {
            "tags": tuple(TagScore(name, score_to_int(score)) for name, score in tags),
            "sha256": digest,
            "width": 4,
            "height": 3,
            "model": "demo",
            "preprocessing": "exact-1",
            "embedding": b"\x00\x3c\x00\x00",  # (1, 0)
            "media_type": row.media_type or "image/jpeg",
        }
        tagged = image_tags.TaggedImage(
            image_id, row.uri, row.path, None, row.job_id, ImageTags(**made | found), 1, 4
        )
        async with self.pool.transaction() as tx:
            await image_tags.lock(tx, [image_id])
            ids = await labels.ensure(tx, [name for name, _ in tags])
            await image_tags.replace(tx, [tagged], ids)

    async def fail(self, image_id: UUID, reason: str, detail: str) -> None:
        """What the tagging role would write of a picture that it cannot read."""
        row = await self.image(image_id)
        failed = FailedImage(image_id, row.uri, row.path, None, row.job_id, reason, detail)
        async with self.pool.transaction() as tx:
            await images.record_failures(tx, [failed])

    async def park(self, image_id: UUID, why: Slowness) -> None:
        """Set an image's arrival aside, as the tagging role would."""
        row, place = await self.image(image_id), Place(IMAGES_ARRIVED.name, 0, 0)
        parked = ParkedImage(
            image_id, row.uri, row.path, None, row.job_id, row.sha256, why,
            Made(datetime.now(UTC), is_fresh=True), place,
            Record(IMAGES_ARRIVED.name, None, (), b"{}"), 0,
        )  # fmt: skip
        async with self.pool.transaction() as tx:
            await parked_images.park(tx, [parked], [(image_id, place)])


class MakeWorld:
    """Makes worlds on one database."""

    def __init__(self, pool: WatchedPool, photos: Path) -> None:
        self._pool, self.photos = pool, photos

    def __call__(self, **settings: Any) -> World:
        """A world whose ingress has these settings; nothing is read from the environment."""
        own = {name: settings.pop(name) for name in OF_THE_WORLD if name in settings}
        values = {"wait_for_tags_s": 0.2, **settings}
        return World(IngressSettings(_env_file=None, **values), self._pool, self.photos, **own)
