"""The lanes of the delivery role on a real database, without Kafka."""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from PIL import Image
from pydantic import SecretStr

from consumers.delivery.adapters import StoredLanes, StoredSecrets, schedule
from consumers.delivery.attempts import Tried
from consumers.delivery.budget import Budget
from consumers.delivery.courier import WebhookCourier
from consumers.delivery.lanes import LaneLimits, Lanes
from consumers.delivery.main import CLAIM_INTERVAL_S, COPIES_MAX_BYTES
from consumers.delivery.pacing import Pacer
from consumers.delivery.pictures import CopyCache, StoredPictures
from consumers.delivery.target_pace import PaceLimits
from core.blobs.keepers import keeper_of
from core.blobs.store import BlobStore, ReadLimits
from core.egress.client import GuardedClient, open_client
from core.settings import (
    DatabaseSettings,
    DecodeSettings,
    DeliverySettings,
    EgressSettings,
    SecretSettings,
)
from core.storage.archive import images
from core.storage.archive.blobs import PostgresBlobs
from core.storage.pool import Pool, open_pool
from core.vision.decoding.decoder import DecodePool, pool_limits
from core.webhooks.schedule import RetrySchedule
from core.webhooks.sender import WebhookSender
from core.webhooks.signing_secrets import SecretBox, make_key
from migrations.schema import upgrade
from schemas.callback import AnswerType, CallbackRequested, callback_id_of
from schemas.image import image_id_of
from standalone.postgres.server import EmbeddedPostgres

FIRST_PORT = 21_700


@dataclass(slots=True)
class Counter:
    """Counts the attempts that ended."""

    ended: list[Tried] = field(default_factory=list)
    most_in_flight: int = 0

    def tried(self, target: str, tried: Tried) -> None:  # noqa: ARG002 - a port
        """Count one attempt."""
        self.ended.append(tried)

    def waiting(self, due: int, oldest_s: float) -> None:
        """Do nothing: the number of waiting webhooks is not used."""

    def paced(self, pacer: Pacer) -> None:
        """Note the greatest number of webhooks in flight."""
        self.most_in_flight = max(self.most_in_flight, pacer.in_flight)


@dataclass(frozen=True, slots=True)
class Delivering:
    """The opened parts of a delivery process."""

    pool: Pool
    client: GuardedClient
    lanes: Lanes
    counter: Counter

    async def put(self, events: Sequence[CallbackRequested]) -> None:
        """Insert due webhooks, as the role's `apply` does."""
        async with self.pool.transaction() as tx:
            await schedule(tx, {callback_id_of(event.query_id): event for event in events})
        self.lanes.wake.set()

    async def drain(self, *, within_s: float, attempts: int = 0) -> None:
        """Run the lanes until nothing is due now and nothing is in flight.

        The database is not queried before that many attempts have ended, since it would cost time.
        """
        stop = asyncio.Event()
        running = asyncio.create_task(self.lanes.run(stop))
        async with asyncio.timeout(within_s):
            while len(self.counter.ended) < attempts or await self.pool.fetchval(_OPEN):
                await asyncio.sleep(0.005)
        stop.set()
        await running


_OPEN = """
SELECT EXISTS (SELECT FROM deliveries WHERE state = 'leased' OR state = 'due' AND next_at <= now())
"""


@contextmanager
def database() -> Iterator[str]:
    """Start a PostgreSQL with the newest schema; stop it when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder, FIRST_PORT)
    try:
        server.start()
        os.environ["DATABASE_URL"] = server.url
        asyncio.run(upgrade())
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def settings(workers: int, exchange_timeout_s: float = 30.0) -> DeliverySettings:
    """Return the settings that an operator would choose for receivers on this machine."""
    return DeliverySettings(workers=workers, exchange_timeout_s=exchange_timeout_s)


EGRESS = EgressSettings(allow_http=True, allowed_ports="1-65535", allowed_hosts="127.0.0.0/8")


@asynccontextmanager
async def opened(
    url: str, chosen: DeliverySettings, *, copies_bytes: int | None = None
) -> AsyncIterator[Delivering]:
    """Open what `consumers.delivery.main` opens, except Kafka."""
    structlog.configure(  # log lines are rendered at their usual level, but not written
        wrapper_class=structlog.make_filtering_bound_logger(30), cache_logger_on_first_use=True
    )
    box = SecretBox.from_settings(SecretSettings(key=SecretStr(make_key())))
    limits = pool_limits(DecodeSettings(), 64 * 2**20)
    counter = Counter()
    async with (
        open_pool(DatabaseSettings(url=SecretStr(url))) as pool,
        open_client(EGRESS) as client,
        DecodePool(limits) as copier,
    ):
        await pool.execute("TRUNCATE deliveries, attempts, images, signing_secrets CASCADE")
        store = BlobStore(keeper_of("pg:", PostgresBlobs(pool)), {}, ReadLimits(64 * 2**20, 16))
        cache = CopyCache(COPIES_MAX_BYTES if copies_bytes is None else copies_bytes)
        courier = WebhookCourier(
            pictures=StoredPictures(
                pool,
                store.read_all,
                copier.outgoing_copy,
                chosen.inline_max_bytes,
                chosen.keep_exif,
                cache,
            ),
            secrets=StoredSecrets(pool, box).of,
            sender=WebhookSender(client, timeout_s=chosen.exchange_timeout_s),
            schedule=RetrySchedule.from_settings(chosen),
            link=lambda image_id: f"http://127.0.0.1/images/{image_id}/content",
            budget=Budget(chosen.max_bytes_in_flight),
            chance=random.SystemRandom(),
        )
        pace = PaceLimits(chosen.workers, EGRESS.per_host_connections, ahead=chosen.workers)
        bounds = LaneLimits(pace, CLAIM_INTERVAL_S, drain_s=1.0, record_s=30.0)
        rows = StoredLanes(chosen.lease_s, courier.schedule.delays_s)
        lanes = Lanes(pool, rows, courier, bounds, counter)
        yield Delivering(pool, client, lanes, counter)


def no_match(url: str, text: str) -> CallbackRequested:
    """Return an answer without a picture."""
    return CallbackRequested(
        query_id=uuid4(),
        type=AnswerType.NO_MATCH,
        url=url,
        text=text,
        answered_at=datetime.now(UTC),
    )


def with_picture(url: str, image_id: UUID) -> CallbackRequested:
    """Return an answer whose picture is sent inline."""
    return CallbackRequested(
        query_id=uuid4(),
        type=AnswerType.COMPLETED,
        url=url,
        text="cats on the beach",
        image_id=image_id,
        score=0.9,
        answered_at=datetime.now(UTC),
    )


def make_photo(number: int, size_bytes: int) -> bytes:
    """Return a JPEG of about that size, made of noise, which does not compress."""
    side = round((size_bytes / 1.05) ** 0.5 / 8) * 8
    chance = random.Random(number)
    picture = Image.frombytes("RGB", (side, side), chance.randbytes(3 * side * side))
    target = BytesIO()
    picture.save(target, "JPEG", quality=75)
    return target.getvalue()


async def keep_photos(pool: Pool, photos: Sequence[bytes]) -> list[UUID]:
    """Put photos into the archive; return their ids."""
    ids = []
    for content in photos:
        digest = sha256(content).digest()
        uri = f"sha256:{digest.hex()}"
        async with pool.transaction() as tx:
            await PostgresBlobs(pool).put(digest, content, tx)
            await images.accept(
                tx,
                image_id=image_id_of(uri),
                uri=f"blob:{digest.hex()}",
                path=f"{digest.hex()[:12]}.jpg",
                media_type="image/jpeg",
                size_bytes=len(content),
                sha256=digest,
            )
        ids.append(image_id_of(uri))
    return ids
