"""The HTTP face on in-memory parts: what is written in a transaction appears at its commit."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

import httpx
from prometheus_client import CollectorRegistry

from core.errors import (
    BrokerAway,
    DatabaseAway,
    ImageMissing,
    PermanentError,
    TargetForbidden,
    TargetUnreachable,
)
from core.messaging.outbox import OutboxPublisher
from core.messaging.ports import Sent
from core.offsets import OutboxRow, Place
from core.settings import IngressSettings
from core.storage.archive.image_pages import Filter
from core.storage.archive.images import Accepted, ImageStatus
from core.storage.archive.jobs import DirectoryJob, DirectoryOptions
from core.storage.keys import ApiKey
from core.storage.queries.queries import QueryStatus
from core.storage.scoring.loaded_models import LoadedModel
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from core.vision.decoding import sniff
from ingress.app import create_app
from ingress.auth.access import KeyRing
from ingress.auth.api_keys import MadeKey, Scope, make_key
from ingress.auth.links import SignedLinks
from ingress.departures import Departures
from ingress.dependencies import Dependencies, Guards, Tables
from ingress.http.bodies import MAX_JSON_BYTES
from ingress.http.limits import ByteBudget, RateLimit, burst_of
from ingress.main import Sniffer
from ingress.ports import FoundDirectory, FoundFile
from schemas.record import Record
from tests.fakes.insights import MemoryInsights

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINK_KEY = b"k" * 32


class MemoryTransaction:
    """Effects that are applied at the commit."""

    def __init__(self) -> None:
        self.staged: list[Callable[[], None]] = []

    async def execute(self, query: str, *args: Any) -> str:
        raise AssertionError(query)

    async def executemany(self, command: str, args: Any) -> None:
        raise AssertionError(command)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        raise AssertionError(query)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        raise AssertionError(query)

    async def fetchval(self, query: str, *args: Any) -> Any:
        assert query == "SELECT 1", query
        return 1


def stage(tx: Transaction, effect: Callable[[], None]) -> None:
    assert isinstance(tx, MemoryTransaction)
    tx.staged.append(effect)


@dataclass
class MemoryDatabase:
    """Transactions; `is_away` makes every use fail."""

    is_away: bool = False
    commits: int = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with self.connection() as tx:
            yield tx
        if self.is_away:  # went away in the middle
            raise DatabaseAway("connection lost before the commit")
        for effect in tx.staged:
            effect()
        self.commits += 1

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[MemoryTransaction]:
        if self.is_away:
            raise DatabaseAway("connection refused")
        yield MemoryTransaction()


@dataclass
class MemoryImages:
    """`core.storage.archive.images` and `image_pages`."""

    clock: Callable[[], datetime]
    rows: dict[UUID, ImageStatus] = field(default_factory=dict)

    async def accept(
        self,
        tx: Transaction,
        *,
        image_id: UUID,
        uri: str,
        path: str,
        owner: str | None = None,
        media_type: str | None = None,
        size_bytes: int | None = None,
        sha256: bytes | None = None,
        job_id: UUID | None = None,
    ) -> Accepted:
        known = self.rows.get(image_id)
        now = self.clock()
        if known is not None and known.owner != owner:
            known = replace(known, owner=None)
        row = known or ImageStatus(
            image_id=image_id,
            uri=uri,
            path=path,
            owner=owner,
            media_type=media_type,
            size_bytes=size_bytes,
            sha256=sha256,
            status="accepted",
            reason=None,
            detail=None,
            job_id=job_id,
            arrived_at=now,
            updated_at=now,
        )
        stage(tx, lambda: self.rows.__setitem__(image_id, row))
        self._open = (image_id, row)
        return Accepted(known is not None, now)

    async def status(self, connection: Transaction, image_id: UUID) -> ImageStatus | None:
        if isinstance(connection, MemoryTransaction) and connection.staged:
            opened, row = self._open
            return row if opened == image_id else self.rows.get(image_id)
        return self.rows.get(image_id)

    async def job_counts(self, connection: Transaction, job_id: UUID) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.rows.values():
            if row.job_id == job_id:
                counts[row.status] = counts.get(row.status, 0) + 1
        return counts

    async def page(
        self, connection: Transaction, wanted: Filter, limit: int
    ) -> Sequence[ImageStatus]:
        found = [
            row
            for row in self.rows.values()
            if (wanted.owner is None or row.owner in {None, wanted.owner})
            and (wanted.job_id is None or row.job_id == wanted.job_id)
            and (wanted.status is None or row.status == wanted.status)
            and (wanted.before is None or (row.arrived_at, row.image_id) < wanted.before)
        ]
        found.sort(key=lambda row: (row.arrived_at, row.image_id), reverse=True)
        return tuple(found[:limit])

    def tag(self, image_id: UUID, *tags: tuple[str, float], **changes: Any) -> None:
        """What the tagging role would write."""
        row = self.rows[image_id]
        self.rows[image_id] = replace(
            row,
            status="tagged",
            tags=[{"tag": tag, "score": score} for tag, score in tags],
            updated_at=row.updated_at + timedelta(seconds=1),
            **changes,
        )

    def fail(self, image_id: UUID, reason: str, detail: str) -> None:
        """What the tagging role would write of a picture that it cannot read."""
        row = self.rows[image_id]
        self.rows[image_id] = replace(
            row,
            status="failed",
            reason=reason,
            detail=detail,
            updated_at=row.updated_at + timedelta(seconds=1),
        )


@dataclass
class MemoryQueries:
    """`core.storage.queries.queries`."""

    rows: dict[UUID, QueryStatus] = field(default_factory=dict)
    fingerprints: dict[UUID, bytes | None] = field(default_factory=dict)

    async def accept(
        self,
        tx: Transaction,
        *,
        query_id: UUID,
        owner: str | None,
        text: str,
        callback_url: str,
        options: dict[str, Any],
        fingerprint: bytes | None = None,
    ) -> Literal["new", "same", "other"]:
        if query_id in self.rows:
            return "same" if self.fingerprints[query_id] == fingerprint else "other"
        row = QueryStatus(query_id, owner, text, callback_url, options, "accepted", None, NOW, None)
        stage(tx, lambda: self.rows.__setitem__(query_id, row))
        stage(tx, lambda: self.fingerprints.__setitem__(query_id, fingerprint))
        return "new"

    async def status(self, connection: Transaction, query_id: UUID) -> QueryStatus | None:
        return self.rows.get(query_id)


@dataclass
class MemoryJobs:
    """`core.storage.archive.jobs`."""

    rows: dict[UUID, DirectoryJob] = field(default_factory=dict)

    async def create(
        self,
        tx: Transaction,
        *,
        job_id: UUID,
        root: str,
        directory: str,
        options: DirectoryOptions,
        owner: str | None = None,
        total: int | None = None,
    ) -> None:
        row = DirectoryJob(
            job_id, owner, root, directory, options, "waiting", total, 0, 0, b"", None, NOW, NOW,
            None,
        )  # fmt: skip
        stage(tx, lambda: self.rows.__setitem__(job_id, row))

    async def get(self, connection: Transaction, job_id: UUID) -> DirectoryJob | None:
        return self.rows.get(job_id)

    async def recent(
        self,
        connection: Transaction,
        *,
        owner: str | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 50,
    ) -> list[DirectoryJob]:
        rows = [row for row in self.rows.values() if owner in {None, row.owner}]
        rows.sort(key=lambda row: (row.created_at, row.job_id), reverse=True)
        return [r for r in rows if before is None or (r.created_at, r.job_id) < before][:limit]

    async def cancel(self, tx: Transaction, job_id: UUID) -> bool:
        row = self.rows[job_id]
        if row.state not in {"waiting", "running"}:
            return False
        ended = replace(row, state="cancelled", finished_at=NOW)
        stage(tx, lambda: self.rows.__setitem__(job_id, ended))
        return True


@dataclass
class MemoryKeys:
    """`core.storage.keys`, as far as requests use it."""

    rows: dict[str, ApiKey] = field(default_factory=dict)
    finds: int = 0
    touched: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def find(self, connection: Transaction, key_id: str) -> ApiKey | None:
        self.finds += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.rows.get(key_id)

    async def touch(self, tx: Transaction, key_id: str, *, older_than: timedelta) -> None:
        self.touched.append(key_id)


@dataclass
class MemoryOutbox:
    """`core.storage.stream.outbox`."""

    rows: dict[int, Record] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)
    last_id: int = 0

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        new = []
        for record in records:
            self.last_id += 1
            new.append(OutboxRow(self.last_id, record))
            stage(tx, partial(self.rows.__setitem__, self.last_id, record))
        return new

    async def delete(self, connection: Transaction, ids: Sequence[int]) -> None:
        for row_id in ids:
            self.rows.pop(row_id, None)

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> list[OutboxRow]:
        raise NotImplementedError  # no sweeper here

    async def settle(
        self,
        tx: Transaction,
        published: Sequence[tuple[OutboxRow, Place]],
        refused: Sequence[Any],
    ) -> None:
        for row, place in published:
            self.places[row.id] = place
            self.rows.pop(row.id, None)

    async def count(self, connection: Transaction, *, bound: int) -> int:
        return min(len(self.rows), bound + 1)


@dataclass
class MemoryBroker:
    """Takes records; `is_away` refuses them, `gate` holds them back."""

    records: list[Record] = field(default_factory=list)
    is_away: bool = False
    gate: Any = None

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            return [BrokerAway("no broker")] * len(records)
        places: list[Sent] = []
        for record in records:
            self.records.append(record)
            places.append(Place(record.topic, 3, len(self.records) - 1))
        return places


@dataclass
class MemoryBlobs:
    """Bytes by URI."""

    contents: dict[str, bytes] = field(default_factory=dict)

    async def keep_outside(self, content: bytes) -> None:
        pass

    async def put(self, content: bytes, sha256: bytes, tx: Transaction) -> None:
        stage(tx, lambda: self.contents.__setitem__(f"blob:{sha256.hex()}", content))

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        return [self.contents.get(uri) or ImageMissing(uri) for uri in uris]


@dataclass
class ScriptedArchive:
    """Files and directories by what a client calls them."""

    files: dict[str, FoundFile] = field(default_factory=dict)
    directories: dict[str, FoundDirectory] = field(default_factory=dict)
    counted: int | None = 0
    is_open: bool = True

    async def file(self, path: str) -> FoundFile:
        if path not in self.files:
            raise ImageMissing(path)
        return self.files[path]

    async def directory(self, path: str) -> FoundDirectory:
        if path not in self.directories:
            raise ImageMissing(path)
        return self.directories[path]

    async def count(
        self, directory: FoundDirectory, extensions: Sequence[str] | None, *, within_s: float
    ) -> int | None:
        return self.counted


@dataclass
class ScriptedGuard:
    """Refuses addresses that contain a word; the rest passes."""

    forbidden: dict[str, str] = field(default_factory=dict)
    unresolvable: frozenset[str] = frozenset()

    async def check(self, url: str) -> object:
        for part, why in self.forbidden.items():
            if part in url:
                raise TargetForbidden(why)
        if url in self.unresolvable:
            raise TargetUnreachable("no such host", kind="dns")
        return url


@dataclass
class World:
    """All fakes, and the application on them."""

    settings: IngressSettings
    seconds: float = 1000.0
    now: datetime = NOW
    max_json_bytes: int = MAX_JSON_BYTES
    max_pixels: int = 120_000_000

    def __post_init__(self) -> None:
        self.database = MemoryDatabase()
        self.images = MemoryImages(lambda: self.now)
        self.queries = MemoryQueries()
        self.jobs = MemoryJobs()
        self.keys = MemoryKeys()
        self.outbox = MemoryOutbox()
        self.broker = MemoryBroker()
        self.blobs = MemoryBlobs()
        self.archive = ScriptedArchive()
        self.guard = ScriptedGuard()
        self.loaded_models: list[LoadedModel] = []
        self.parts = self._parts()
        self.app = create_app(self.parts)

    def _parts(self) -> Dependencies:
        clock = lambda: self.seconds  # noqa: E731
        now = lambda: self.now  # noqa: E731
        return Dependencies(
            settings=self.settings,
            base_url="http://archive",
            max_query_chars=2_000,
            max_json_bytes=self.max_json_bytes,
            tables=Tables(self.database, self.images, self.images, self.queries, self.jobs),
            guards=Guards(
                keys=KeyRing(self.database, self.keys, RateLimit(1, 5, clock), clock, now),
                rate=RateLimit(
                    self.settings.requests_per_second,
                    burst_of(self.settings.requests_per_second),
                    clock,
                ),
                bodies=ByteBudget(self.settings.max_bytes_in_flight),
                callbacks=self.guard,
                links=SignedLinks((LINK_KEY,), now),
                prober=Sniffer(sniff.Limits(max_pixels=self.max_pixels)),
            ),
            blobs=self.blobs,
            archive=self.archive,
            insights=MemoryInsights(self.images.rows),
            departures=Departures(
                OutboxPublisher(self.database, self.outbox, self.broker, clock),
                100,
                clock,
                cluster="test-cluster",
            ),
            metrics=Metrics(CollectorRegistry()),
            model="demo",
            version="1.2.3",
            kafka_address="kafka:9092",
            is_broker_there=self._is_broker_there,
            loaded_models=self._loaded_models,
            now=now,
        )

    async def _loaded_models(self) -> Sequence[LoadedModel]:
        async with self.database.connection():
            return self.loaded_models

    async def _is_broker_there(self) -> bool:
        return not self.broker.is_away

    def key(self, *scopes: Scope, owner: str = "alice", **changes: Any) -> MadeKey:
        """Make a key that the world knows."""
        made = make_key()
        row = ApiKey(
            made.key_id, owner, "", made.digest, tuple(scope.value for scope in scopes), NOW
        )
        self.keys.rows[made.key_id] = replace(row, **changes)
        return made

    def client(self, *scopes: Scope, owner: str = "alice") -> httpx.AsyncClient:
        """A client with a key of these scopes; without scopes it has no key."""
        headers = {"X-API-Key": self.key(*scopes, owner=owner).text} if scopes else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://archive", headers=headers
        )


def make_world(
    *, max_json_bytes: int = MAX_JSON_BYTES, max_pixels: int = 120_000_000, **settings: Any
) -> World:
    """A world whose ingress has these settings; nothing is read from the environment."""
    values = {"wait_for_tags_s": 0.2, **settings}
    return World(
        IngressSettings(_env_file=None, **values),
        max_json_bytes=max_json_bytes,
        max_pixels=max_pixels,
    )
