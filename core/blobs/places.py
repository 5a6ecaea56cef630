"""Every place that a record's URI may name, as the settings allow: the same for all processes."""

from collections.abc import Callable

from core.blobs.keepers import BlobTable, keeper_of
from core.blobs.roots import Roots
from core.blobs.sources import BucketSource, FileSource, WebClient, WebSource
from core.blobs.store import BlobStore, ReadLimits, Source
from core.settings import ArchiveSettings


def open_store(
    settings: ArchiveSettings,
    client: WebClient,
    table: BlobTable,
    report_progress: Callable[[], object] = lambda: None,
) -> BlobStore:
    """The blob store over every scheme; does no I/O.

    Args:
        client: the guarded client, for `https:` and, where its policy allows it, `http:`.
        table: the bytes in PostgreSQL.
        report_progress: as `BlobStore` has it.

    Raises:
        ConfigurationError: a setting names no place of bytes.
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
    return BlobStore(keeper_of(settings.blobs, table), sources, limits, report_progress)
