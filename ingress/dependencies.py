"""Everything that the routes work with, as one value. `main.py` fills it in."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from core.settings import IngressSettings
from core.storage.scoring.loaded_models import LoadedModel
from core.telemetry.metrics import Metrics
from core.transaction import Database
from core.webhooks.signing_secrets import SecretBox
from ingress.auth.access import KeyRing
from ingress.departures import Departures
from ingress.http.bodies import MAX_JSON_BYTES, MIN_BYTES_PER_S, Pace
from ingress.http.limits import ByteBudget, RateLimit
from ingress.ports import (
    Archive,
    Blobs,
    CallbackGuard,
    ImagePages,
    ImageTable,
    JobTable,
    Links,
    Prober,
    QueryTable,
)
from ingress.reading.ports import Insights


@dataclass(slots=True)
class Readiness:
    """Whether new requests are welcome; false from the moment that stopping begins."""

    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Tables:
    """What is kept in PostgreSQL."""

    database: Database
    images: ImageTable
    pages: ImagePages
    queries: QueryTable
    jobs: JobTable


@dataclass(frozen=True, slots=True)
class Guards:
    """What stands between a client and the rest."""

    keys: KeyRing
    rate: RateLimit
    bodies: ByteBudget
    callbacks: CallbackGuard
    links: Links
    prober: Prober


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The parts of the HTTP face.

    Attributes:
        base_url: where links point, without a slash at the end.
        model: what the settings say the instance tags with.
        loaded_models: gives what tagging processes say they have loaded, for `/health`.
        kafka_address: host and port of the brokers, for `/asyncapi.json`.
        is_broker_there: asks the broker, for `/health`.
        sealing: keeps signing secrets; None where `SECRETS_KEY` is not set.
        comparing: held while an archive's photos are compared with each other.
    """

    settings: IngressSettings
    base_url: str
    max_query_chars: int
    tables: Tables
    guards: Guards
    blobs: Blobs
    archive: Archive
    insights: Insights
    departures: Departures
    metrics: Metrics
    model: str
    version: str
    kafka_address: str
    is_broker_there: Callable[[], Awaitable[bool]]
    loaded_models: Callable[[], Awaitable[Sequence[LoadedModel]]]
    sealing: SecretBox | None = None
    max_json_bytes: int = MAX_JSON_BYTES
    readiness: Readiness = field(default_factory=Readiness)
    comparing: asyncio.Lock = field(default_factory=asyncio.Lock)
    now: Callable[[], datetime] = _now

    @property
    def pace(self) -> Pace:
        """How slowly bodies may come."""
        return Pace(self.settings.receive_timeout_s, MIN_BYTES_PER_S)

    def link(self, path: str) -> str:
        """Return the address of a path here, as clients reach it."""
        return self.base_url + path
