"""The places that image bytes are read from, opened for the roles that read them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.blobs.places import open_store
from core.blobs.store import BlobStore
from core.egress.client import GuardedClient, open_client
from core.egress.own_ports import inbox_prefix, own_ports
from core.messaging.liveness import report_progress
from core.settings import (
    ArchiveSettings,
    DatabaseSettings,
    EgressSettings,
    IngressSettings,
    KafkaSettings,
    StandaloneSettings,
    TelemetrySettings,
    load,
)
from core.storage.archive.blobs import PostgresBlobs
from core.storage.pool import Pool


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The guarded HTTP client and the blob store."""

    client: GuardedClient
    store: BlobStore


@asynccontextmanager
async def open_image_bytes(pool: Pool) -> AsyncIterator[ImageBytes]:
    """Open the guarded client and the blob store over every scheme that the settings allow.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    archive = load(ArchiveSettings)
    ingress, standalone = load(IngressSettings), load(StandaloneSettings)
    own = own_ports(
        ingress, load(KafkaSettings), load(DatabaseSettings), load(TelemetrySettings), standalone
    )
    inbox = inbox_prefix(ingress, standalone)
    async with open_client(load(EgressSettings), own, inbox) as client:
        yield ImageBytes(client, open_store(archive, client, PostgresBlobs(pool), report_progress))
