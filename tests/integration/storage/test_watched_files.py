"""The ledger of the filesystem bridge."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.folders import watched_files
from core.storage.folders.watched_files import FileState, WatchedFile
from core.storage.pool import Pool, open_pool
from schemas.image import image_id_of

LARGEST = 2**64 - 1  # inodes of some file systems use all 64 bits


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


def seen(path: bytes, root: str = "main") -> WatchedFile:
    return WatchedFile(
        root=root,
        relative_path=path,
        size_bytes=10,
        mtime_ns=1_700_000_000_123_456_789,
        inode=LARGEST,
        device=LARGEST,
        image_id=image_id_of(f"file:{root}/{path!r}"),
        state=FileState.ANNOUNCED,
        sha256=b"\x01" * 32,
    )


@pytest.mark.parametrize("number", [0, 10_000, 10_560_000, 10**19, LARGEST])
async def test_an_inode_comes_back_as_it_was_whatever_its_digits(pool: Pool, number: int) -> None:
    file = replace(seen(f"{number}.jpg".encode(), root="inodes"), inode=number, device=number)
    await watched_files.record(pool, [file])

    assert await watched_files.many(pool, "inodes", [file.relative_path]) == {
        file.relative_path: file
    }


async def test_files_come_back_in_the_byte_order_of_their_paths(pool: Pool) -> None:
    paths = [b"a/x.jpg", b"a-b.jpg", b"\xff.jpg", "я.jpg".encode(), b"a.jpg", b"B.jpg"]
    await watched_files.record(pool, [seen(path) for path in paths])
    await watched_files.record(pool, [seen(b"a.jpg", root="other")])

    found = await watched_files.between(pool, "main", b"", None, 100)

    assert found == [seen(path) for path in sorted(paths)]
    some = await watched_files.between(pool, "main", b"a-b.jpg", b"a/x.jpg", 100)
    assert [file.relative_path for file in some] == [b"a.jpg", b"a/x.jpg"]
    assert await watched_files.many(pool, "main", [b"a.jpg", b"no"]) == {b"a.jpg": seen(b"a.jpg")}


async def test_a_failure_keeps_the_hash_that_was_announced(pool: Pool) -> None:
    await watched_files.record(pool, [seen(b"a.jpg")])
    failed = replace(
        seen(b"a.jpg"), state=FileState.FAILING, sha256=None, attempts=1, reason="read_failed"
    )
    await watched_files.record(pool, [failed])

    [found] = await watched_files.between(pool, "main", b"", None, 1)

    assert found == replace(failed, sha256=b"\x01" * 32)


async def test_a_file_that_is_gone_makes_its_image_missing_and_no_answer(pool: Pool) -> None:
    gone, stays = seen(b"gone.jpg"), seen(b"stays.jpg")
    await watched_files.record(pool, [gone, stays])
    for file in (gone, stays):
        await pool.execute(
            "INSERT INTO images (image_id, uri, path, status) VALUES ($1, 'file:x', 'x', 'tagged')",
            file.image_id,
        )
        await pool.execute(
            "INSERT INTO tagged_images (image_path, tags, image_id, sha256, width, height, model,"
            " preprocessing, top_k) VALUES ('x', '[]', $1, '', 1, 1, 'm', 'p', 1)",
            file.image_id,
        )
    await pool.execute("INSERT INTO labels (id, name) VALUES (1, 'cat')")
    await pool.execute(
        "INSERT INTO image_tags SELECT t.id, 1, 0, l.id FROM tagged_images t, labels l"
    )

    async with pool.transaction() as tx:
        assert await watched_files.mark_missing(tx, "main", [b"gone.jpg", b"unknown"]) == 1
        assert await watched_files.mark_missing(tx, "main", [b"gone.jpg"]) == 0

    states = await pool.fetch("SELECT relative_path, state FROM watched_files")
    assert {bytes(row["relative_path"]): row["state"] for row in states} == {
        stays.relative_path: "announced",
        gone.relative_path: "missing",
    }
    assert [
        tuple(row) for row in await pool.fetch("SELECT status, image_id FROM images ORDER BY 1")
    ] == [("missing", gone.image_id), ("tagged", stays.image_id)]
    assert (
        await pool.fetchval(
            "SELECT t.image_id FROM image_tags g JOIN tagged_images t ON t.id = g.image_id"
        )
        == stays.image_id
    )


async def test_quarantined_files_get_one_more_try(pool: Pool) -> None:
    await watched_files.record(
        pool, [replace(seen(b"a.jpg"), state=FileState.QUARANTINED, attempts=5)]
    )
    await watched_files.give_another_try(pool, "main", 4)

    [found] = await watched_files.between(pool, "main", b"", None, 1)
    assert (found.state, found.attempts) == (FileState.FAILING, 4)
