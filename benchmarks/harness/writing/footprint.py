"""The room that rows and records take: of PostgreSQL's tables and indexes, and of Kafka's logs."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from core.storage.pool import Pool
from schemas.record import Record

_TABLES = """
SELECT c.oid::regclass::text AS name, pg_table_size(c.oid) AS heap,
       pg_indexes_size(c.oid) AS indexes
FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""
_INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_relation_size(i.indexrelid) AS size
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace ORDER BY 2 DESC
"""
LZ4 = 3  # as the producer compresses (core/messaging/kafka/producer.py)
FIRST_MS = 1_780_000_000_000


@dataclass(frozen=True, slots=True)
class TableSize:
    """One table.

    Attributes:
        heap: bytes of rows, those outside of the row (TOAST) and the maps of free room included.
        indexes: bytes of all its indexes.
    """

    name: str
    rows: int
    heap: int
    indexes: int


async def tables(pool: Pool) -> dict[str, TableSize]:
    """Return all tables that have rows, after a VACUUM of these."""
    rows = {
        row["name"]: await pool.fetchval(f"SELECT count(*) FROM {row['name']}")
        for row in await pool.fetch(_TABLES)
    }
    filled = sorted(name for name, number in rows.items() if number)
    await pool.execute(f"VACUUM (ANALYZE) {', '.join(filled)}")
    sizes = {row["name"]: row for row in await pool.fetch(_TABLES)}
    return {
        name: TableSize(name, rows[name], sizes[name]["heap"], sizes[name]["indexes"])
        for name in filled
    }


async def log_end(pool: Pool) -> int:
    """Return where the write-ahead log ends, in bytes since the cluster was made."""
    return int(await pool.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def indexes(pool: Pool, most: int) -> list[tuple[str, int]]:
    """Return the largest indexes with their bytes."""
    return [(row["name"], row["size"]) for row in (await pool.fetch(_INDEXES))[:most]]


def record_bytes(records: Sequence[Record], per_batch: int) -> float:
    """Return the bytes of a record in a log, so many of them in each of the producer's batches.

    A broker keeps batches as the producer made them, so none is asked.
    """
    size = 0
    for start in range(0, len(records), per_batch):
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=LZ4, is_transactional=False, producer_id=1,
            producer_epoch=0, base_sequence=0, batch_size=2**20,
        )  # fmt: skip
        for at, record in enumerate(records[start : start + per_batch]):
            kept = builder.append(at, FIRST_MS + at, record.key, record.value, list(record.headers))
            if kept is None:
                raise SystemExit(f"{per_batch} records do not fit into one batch")
        size += len(builder.build())
    return size / len(records)
