"""The places that image bytes are read from, opened for the roles that read them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.blobs.keepers import keeper_of
from core.blobs.roots import Roots
from core.blobs.sources import BucketSource, FileSource, WebSource
from core.blobs.store import BlobStore, ReadLimits, Source
from core.egress.client import GuardedClient, open_client
from core.settings import ArchiveSettings, DeliverySettings, load
from core.storage.blobs import PostgresBlobs
from core.storage.pool import Pool


@dataclass(frozen=True, slots=True)
class Reach:
    """The guarded way out, and all places of image bytes."""

    client: GuardedClient
    store: BlobStore


@asynccontextmanager
async def open_reach(pool: Pool) -> AsyncIterator[Reach]:
    """Open the guarded client and the blob store over every scheme that the settings allow.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    archive, delivery = load(ArchiveSettings), load(DeliverySettings)
    async with open_client(delivery) as client:
        yield Reach(client, _store(archive, client, pool))


def _store(archive: ArchiveSettings, client: GuardedClient, pool: Pool) -> BlobStore:
    web = WebSource(client)
    buckets = BucketSource([part.strip() for part in archive.buckets.split(",") if part.strip()])
    sources: dict[str, Source] = {
        "file": FileSource(Roots(archive.root_paths())),
        "https": web,
        "http": web,
        "s3": buckets,
        "gs": buckets,
        "az": buckets,
    }
    return BlobStore(
        keeper_of(archive.blobs, PostgresBlobs(pool)),
        sources,
        ReadLimits(archive.fetch_max_bytes, archive.fetch_concurrency),
    )
