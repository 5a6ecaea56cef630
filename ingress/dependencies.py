"""What the routes depend on, as one value that `main.py` makes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request

from core.blobs.store import BlobStore
from core.egress.guard import TargetGuard
from core.messaging.kafka.cluster import ClusterLook
from core.settings import IngressSettings
from core.storage.pool import Pool
from core.telemetry.metrics import Metrics
from core.vision.decoding.sniff import SniffedPicture
from core.webhooks.signing_secrets import SecretBox
from ingress.auth.access import KeyRing
from ingress.auth.sessions import SessionRing
from ingress.departures import Departures
from ingress.facts import InstanceFacts
from ingress.http.bodies import MAX_JSON_BYTES
from ingress.http.limits import Places, RateLimit, SharedBudget
from ingress.http.waiting import Shared
from ingress.live.poller import Poller
from ingress.live.rhythm import RHYTHM, Rhythm
from ingress.live.watching import PipelineWatch
from ingress.models.health import Check, RunningModel
from ingress.models.page.pipeline import RoleHealth
from ingress.reading.alike import AlikeFinder
from ingress.reading.files import RootedFiles
from ingress.reading.language import TextReader
from ingress.reading.thumbs import Thumbs

#: Of the database, of its standby where there should be one, of the broker; the models that run,
#: and the roles.
Health = tuple[Check, Check | None, Check, tuple[RunningModel, ...], dict[str, RoleHealth]]
#: Answers that inboxes hold back at a time: webhooks to one target are at most
#: EGRESS_PER_HOST_CONNECTIONS in a process, and each holds a connection that others need.
MAX_INBOX_HOLDS = 32
UTC_NOW = partial(datetime.now, UTC)


@dataclass(slots=True)
class Readiness:
    """Whether new requests are accepted; false once stopping begins."""

    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Guards:
    """The checks that a request passes.

    Attributes:
        bodies: memory for images on their way in or out.
        thumb_rate: of requests for thumbnails, which `rate` does not count.
        places: how many requests may be under way.
        callbacks: checks callback addresses.
        link_keys: signed links are checked with these; none, and no valid link, without
            `SECRETS_KEY`.
        probe: returns a picture's type and size from its first bytes; raises `ImageUnreadable`.
    """

    keys: KeyRing
    sessions: SessionRing
    rate: RateLimit
    thumb_rate: RateLimit
    bodies: SharedBudget
    places: Places
    callbacks: TargetGuard
    link_keys: Sequence[bytes]
    probe: Callable[[bytes], SniffedPicture]

    def ring_of(self, request: Request) -> KeyRing | SessionRing:
        """Return what checks a request: its cookie, if it has one and no key."""
        return self.keys if self.sessions.cookie_of(request) is None else self.sessions


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the routes of the HTTP face need.

    Attributes:
        base_url: where links point, without a slash at the end.
        keeps_blobs_in_database: whether `ARCHIVE_BLOBS` is `pg:`.
        files: finds files under the allowed roots.
        model: the name of the model that the settings ask for.
        facts: what the page tells of this instance.
        kafka_address: host and port of the brokers, for `/asyncapi.json`.
        brokers: asks which brokers are there, for `/health`; None: none answers.
        sealing: encrypts signing secrets; None where `SECRETS_KEY` is not set.
        expects_standby: whether the database's address names several hosts.
        database_looks, health_looks: a flood of probes asks the database once.
        alike: finds images that are alike.
        pipeline: looks at the stages and processes.
        live: looks for all who listen to events; `rhythm`: how they are sent.
        inbox_holds: answers of the receiver in the box that come late, or never.
    """

    settings: IngressSettings
    base_url: str
    max_query_chars: int
    pool: Pool
    guards: Guards
    blobs: BlobStore
    thumbs: Thumbs
    keeps_blobs_in_database: bool
    files: RootedFiles
    reader: TextReader
    departures: Departures
    metrics: Metrics
    model: str
    version: str
    facts: InstanceFacts
    kafka_address: str
    brokers: Callable[[], Awaitable[ClusterLook | None]]
    pipeline: PipelineWatch
    live: Poller
    rhythm: Rhythm = RHYTHM
    sealing: SecretBox | None = None
    max_json_bytes: int = MAX_JSON_BYTES
    readiness: Readiness = field(default_factory=Readiness)
    database_looks: Shared[Check] = field(default_factory=Shared)
    health_looks: Shared[Health] = field(default_factory=Shared)
    expects_standby: bool = False
    alike: AlikeFinder = field(init=False)
    inbox_holds: SharedBudget = field(
        default_factory=lambda: SharedBudget(MAX_INBOX_HOLDS, "held answers")
    )
    now: Callable[[], datetime] = UTC_NOW

    def __post_init__(self) -> None:
        """Make what needs nothing but the database."""
        object.__setattr__(self, "alike", AlikeFinder(self.pool, asyncio.Lock()))
