"""`DELETE /images/{id}` on real PostgreSQL: who may, what is left, when the bytes go."""

import hashlib
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
from pydantic import SecretStr

from consumers.delivery.courier import OutgoingPicture
from consumers.delivery.pictures import CopyCache, StoredPictures
from consumers.upkeep.pruning import Pruner
from core.errors import PermanentError
from core.messaging.cloudevents import made_at
from core.settings import DatabaseSettings, RetentionSettings, load
from core.storage.archive import blobs, image_deletion
from core.storage.pool import Pool, open_pool
from core.storage.stream.outbox import headers_from_json
from core.vision.decoding.pool.answers import OutgoingCopy
from ingress.auth.api_keys import Scope
from ingress.main import Opened
from schemas.record import Record
from tests.fakes.blobs import MemoryKeeper
from tests.fakes.pictures import jpeg
from tests.integration.ingress.conftest import client_of

PHOTO = jpeg(1)
DIGEST = hashlib.sha256(PHOTO).digest()
AGE = timedelta(days=2)


async def upload(client: httpx.AsyncClient, name: str = "a.jpg") -> dict[str, object]:
    answer = await client.post(
        f"/images/upload?filename={name}", content=PHOTO, headers={"content-type": "image/jpeg"}
    )
    assert answer.status_code == 202, answer.text
    entry: dict[str, object] = answer.json()["images"][0]
    return entry


async def pruned(pool: Pool) -> dict[str, int]:
    """One round of the pruner, of bytes and vectors that were put long ago."""
    for table in ("blobs", "embeddings"):
        await pool.execute(f"UPDATE {table} SET created_at = now() - $1::interval", AGE)
    settings = RetentionSettings(_env_file=None)
    told: list[str] = []
    pruner = Pruner(pool.transaction, {"kept_bytes": MemoryKeeper()}, settings, told.append)
    while await pruner.step():
        pass
    assert told == []
    return dict(pruner.gone)


async def test_nobody_sees_a_deleted_image_and_deleting_it_again_is_404(
    client: httpx.AsyncClient,
) -> None:
    image_id = (await upload(client))["image_id"]

    deleted = await client.delete(f"/images/{image_id}")

    assert deleted.status_code == 200, deleted.text
    assert deleted.json()["image_id"] == image_id
    for path in ("", "/content", "/similar"):
        answer = await client.get(f"/images/{image_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found"), path
    assert (await client.get("/images")).json()["images"] == []
    for again in (
        await client.delete(f"/images/{image_id}"),
        await client.patch(f"/images/{image_id}", json={"excluded": True}),
    ):
        assert (again.status_code, again.json()["code"]) == (404, "image_not_found")


async def test_only_an_owner_deletes_an_image_or_an_administrator(
    client: httpx.AsyncClient, opened: Opened
) -> None:
    image_id = (await upload(client))["image_id"]
    async with (
        await client_of(opened, "bob", Scope.UPLOAD) as bobs,
        await client_of(opened, "root", Scope.ADMIN) as admin,
        await client_of(opened, "alice", Scope.READ) as reader,
    ):
        foreign = await bobs.delete(f"/images/{image_id}")
        unknown = await bobs.delete(f"/images/{uuid4()}")
        without_scope = await reader.delete(f"/images/{image_id}")
        await upload(bobs)  # the same bytes
        shared = await client.delete(f"/images/{image_id}")
        by_admin = await admin.delete(f"/images/{image_id}")

    assert [one.status_code for one in (foreign, unknown)] == [404] * 2
    assert foreign.json()["title"] == unknown.json()["title"]
    assert (without_scope.status_code, without_scope.json()["code"]) == (403, "scope_missing")
    assert (shared.status_code, shared.json()["remains"]) == (200, True)
    assert (by_admin.status_code, by_admin.json()["remains"]) == (200, False)


async def test_a_photo_that_is_sent_again_is_a_new_image(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    first = await upload(client, "holiday.jpg")
    await client.patch(f"/images/{first['image_id']}", json={"excluded": True})
    await client.delete(f"/images/{first['image_id']}")
    tombstone = await pool.fetchrow("SELECT uri, path, open_to_all, sha256, excluded FROM images")

    again = await upload(client, "beach.jpg")

    assert tombstone is not None
    assert dict(tombstone) == {
        "uri": "", "path": "", "open_to_all": False, "sha256": None, "excluded": False,
    }  # fmt: skip
    assert await pool.fetchval("SELECT uri FROM images") == f"blob:{DIGEST.hex()}"
    assert again["image_id"] == first["image_id"]
    assert again["duplicate"] is False
    shown = (await client.get(f"/images/{again['image_id']}")).json()
    assert (shown["status"], shown["image_path"]) == ("accepted", "beach.jpg")
    assert (shown["media_type"], shown["size_bytes"]) == ("image/jpeg", len(PHOTO))
    assert shown["excluded"] is False
    assert (await client.get(f"/images/{again['image_id']}/content")).content == PHOTO
    assert (await upload(client))["duplicate"] is True


async def test_what_is_uploaded_is_told_of_by_the_clock_that_deletions_have(
    opened: Opened, pool: Pool
) -> None:
    deps = replace(opened.deps, now=lambda: datetime.now(UTC) + timedelta(hours=1))
    before = await pool.fetchval("SELECT clock_timestamp()")
    async with await client_of(replace(opened, deps=deps), "ann", Scope.UPLOAD) as client:
        image_id = UUID(str((await upload(client))["image_id"]))
        headers = headers_from_json(await pool.fetchval("SELECT headers FROM outbox"))
        await client.delete(f"/images/{image_id}")

    told_at = made_at(Record("images.arrived.v1", None, headers, b""))
    assert told_at is not None
    assert before < told_at < await pool.fetchval("SELECT deleted_at FROM images")


async def test_bytes_and_vector_go_after_the_row_unless_another_image_has_them(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    image_id = (await upload(client))["image_id"]
    other = uuid4()
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status, sha256)"
        " VALUES ($1, 'file:p/a.jpg', 'p/a.jpg', 'tagged', $2)",
        other,
        DIGEST,
    )
    for one in (UUID(str(image_id)), other):
        await tagged(pool, one)

    await client.delete(f"/images/{image_id}")  # whoever did it may die now: nothing is left to do
    with_another = await pruned(pool)
    async with pool.transaction() as tx:
        await image_deletion.delete(tx, other)
    alone = await pruned(pool)

    assert (with_another["blobs"], with_another["embeddings"]) == (0, 0)
    assert (alone["blobs"], alone["embeddings"]) == (1, 1)
    assert await pool.fetchval("SELECT count(*) FROM blobs") == 0


async def tagged(pool: Pool, image_id: UUID) -> None:
    await pool.execute(
        "INSERT INTO tagged_images (image_path, tags, image_id, sha256, width, height, model,"
        " preprocessing, top_k) VALUES ('p', '[]', $1, $2, 1, 1, 'm', 'p', 4)",
        image_id,
        DIGEST,
    )
    await pool.execute(
        "INSERT INTO embeddings (sha256, model, preprocessing, embedding)"
        " VALUES ($1, 'm', 'p', '[1,2]') ON CONFLICT DO NOTHING",
        DIGEST,
    )


async def test_bytes_that_are_sent_again_while_the_pruner_works_are_kept(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    image_id = (await upload(client))["image_id"]
    await client.delete(f"/images/{image_id}")
    await pool.execute("UPDATE blobs SET created_at = now() - $1::interval", AGE)
    settings = DatabaseSettings(url=SecretStr(load(DatabaseSettings).url.get_secret_value()))
    async with open_pool(settings) as other, other.transaction() as tx:
        # An upload that has put its bytes, and not its row yet.
        await blobs.PostgresBlobs(other).put(DIGEST, PHOTO, tx)
        pruner = Pruner(
            pool.transaction,
            {"kept_bytes": MemoryKeeper()},
            RetentionSettings(_env_file=None),
            print,
        )
        while await pruner.step():
            pass

    assert pruner.gone["blobs"] == 0
    assert await blobs.PostgresBlobs(pool).read(DIGEST, max_bytes=10**6) == PHOTO


async def test_a_webhook_that_waits_with_a_deleted_image_says_so(
    client: httpx.AsyncClient, opened: Opened, pool: Pool
) -> None:
    image_id = UUID(str((await upload(client))["image_id"]))
    pictures = StoredPictures(
        database=pool,
        read_all=opened.deps.blobs.read_all,
        make_copy=NoCopier().outgoing_copy,
        inline_max_bytes=10**6,
        keep_exif=True,
        copies=CopyCache(0),
    )
    before = await pictures.outgoing(image_id, inline=True, reserve=_reserve)

    await client.delete(f"/images/{image_id}")

    assert isinstance(before, OutgoingPicture)
    assert before.base64 == b64encode(PHOTO)
    after = await pictures.outgoing(image_id, inline=True, reserve=_reserve)
    assert isinstance(after, PermanentError)
    assert after.reason == "image_gone"


class NoCopier:
    async def outgoing_copy(self, data: bytes) -> OutgoingCopy:
        raise AssertionError("the bytes go as they are")


async def _reserve(size: int) -> None:
    assert size >= 0
