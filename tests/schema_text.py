"""docs/schema.sql: the schema of a migrated database as text, read from PostgreSQL's catalog."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from standalone.postgres.server import EmbeddedPostgres
from tests.servers import at_database, execute, first_port, make_home, migrate

SCHEMA = Path(__file__).parents[1] / "docs" / "schema.sql"
HEAD = "-- Every table, as the migrations leave it. Made by `make docs`: read it, do not edit it.\n"

# Tables by age: as the migrations group them.
_TABLES = """
SELECT oid, relname, obj_description(oid) AS comment, array_to_string(reloptions, ', ') AS options
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
  AND relname <> 'alembic_version' ORDER BY oid
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull,
       col_description(attrelid, attnum) AS comment,
       CASE WHEN attidentity = 'a' THEN ' GENERATED ALWAYS AS IDENTITY'
            WHEN adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(adbin, adrelid) ELSE '' END
       || CASE WHEN attstorage <> typstorage AND attstorage = 'e' THEN ' STORAGE EXTERNAL'
               ELSE '' END AS extra
FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_CONSTRAINTS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = $1 AND contype IN ('p', 'u', 'f', 'c')
ORDER BY array_position(ARRAY['p', 'u', 'f', 'c'], contype::text), conname
"""
_INDEXES = """
SELECT pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
ORDER BY indexrelid::regclass::text
"""
_TRIGGERS = """
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal
ORDER BY tgname
"""
_VIEWS = """
SELECT 'CREATE VIEW ' || relname || E' AS\n' || pg_get_viewdef(oid) FROM pg_class
WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
_FUNCTIONS = """
SELECT pg_get_functiondef(oid) || ';' FROM pg_proc p
WHERE pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY proname
"""


async def schema_text(url: str) -> str:
    """Return the schema of a database as SQL, in an order that does not change."""
    connection = await asyncpg.connect(url)
    try:
        parts = [HEAD]
        for table in await connection.fetch(_TABLES):
            columns = await connection.fetch(_COLUMNS, table["oid"])
            constraints = await _texts(connection, _CONSTRAINTS, table["oid"])
            parts.append(_table(table, columns, constraints))
            extras = [
                f"{text};\n"
                for query in (_INDEXES, _TRIGGERS)
                for text in await _texts(connection, query, table["oid"])
            ]
            parts[-1] += "".join(extras)
        for query in (_VIEWS, _FUNCTIONS):
            parts += [f"{text}\n" for text in await _texts(connection, query)]
        return "\n".join(parts).replace("public.", "")
    finally:
        await connection.close()


async def _texts(
    connection: "asyncpg.Connection[asyncpg.Record]", query: str, *arguments: object
) -> list[str]:
    return [row[0] for row in await connection.fetch(query, *arguments)]


def _table(
    table: asyncpg.Record, columns: Sequence[asyncpg.Record], constraints: Sequence[str]
) -> str:
    lines = [
        f"{column['attname']} {column['type']}"
        f"{' NOT NULL' if column['attnotnull'] else ''}{column['extra']}"
        for column in columns
    ]
    lines += constraints
    notes = dict(enumerate(column["comment"] for column in columns))
    body = "\n".join(
        f"    {line}{',' if at + 1 < len(lines) else ''}"
        f"{f'  -- {notes[at]}' if notes.get(at) else ''}"
        for at, line in enumerate(lines)
    )
    options = f" WITH ({table['options']})" if table["options"] else ""
    return f"-- {table['comment']}\nCREATE TABLE {table['relname']} (\n{body}\n){options};\n"


def write() -> None:
    """Write docs/schema.sql, from a database that the migrations make on a server of its own."""
    home = make_home("documents")
    server = EmbeddedPostgres(home, first_port())
    try:
        server.start()
        asyncio.run(execute(server.url, "CREATE DATABASE documents"))
        url = at_database(server.url, "documents")
        migrate(url)
        SCHEMA.write_text(asyncio.run(schema_text(url)), encoding="utf-8")
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
