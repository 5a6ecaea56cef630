"""The sources of all URI schemes that the settings allow, the same in all processes."""

from collections.abc import Callable

from core.blobs.keepers import keeper_of
from core.blobs.roots import Roots
from core.blobs.sources import BucketSource, FileSource, WebClient, WebSource
from core.blobs.store import BlobKeeper, BlobStore, ReadLimits, Source
from core.settings import ArchiveSettings


def open_store(
    settings: ArchiveSettings,
    client: WebClient,
    in_postgres: BlobKeeper,
    report_progress: Callable[[], object] = lambda: None,
) -> BlobStore:
    """Return the blob store over every scheme; does no I/O.

    Args:
        client: the guarded client, for `https:` and, where its policy allows it, `http:`.
        in_postgres: keeps bytes in PostgreSQL.
        report_progress: as `BlobStore` has it.

    Raises:
        ConfigurationError: a setting is no valid location of bytes.
    """
    web, buckets = WebSource(client), BucketSource(settings.bucket_prefixes())
    sources: dict[str, Source] = {
        "file": FileSource(Roots(settings.root_paths())),
        "https": web,
        "http": web,
        "s3": buckets,
        "gs": buckets,
        "az": buckets,
    }
    limits = ReadLimits(settings.fetch_max_bytes)
    return BlobStore(keeper_of(settings.blobs, in_postgres), sources, limits, report_progress)
