"""What the routes rely on of the tables that they use."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from core.errors import DatabaseAway
from core.offsets import Place
from core.settings import DatabaseSettings
from core.storage import keys
from core.storage.archive import images
from core.storage.finding import image_pages
from core.storage.finding.filters import ImageFilter
from core.storage.finding.orders import Order, PagePlace
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions
from core.storage.keys import NewKey
from core.storage.pool import Pool, open_pool
from core.storage.queries import queries
from core.storage.stream import outbox
from ingress.auth.api_keys import Scope, make_key
from schemas.record import Record

ARRIVED = Record("images.arrived.v1", b"k", (("ce_id", b"1"),), b"{}")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


async def accept(pool: Pool, image_id: UUID, **values: Any) -> bool:
    async with pool.transaction() as tx:
        accepted = await images.accept(
            tx, image_id=image_id, uri=f"blob:{image_id.hex * 2}", path="a.jpg", **values
        )
        return accepted.is_duplicate


async def test_an_image_is_new_once(pool: Pool) -> None:
    image_id = uuid4()

    assert await accept(pool, image_id, owner="alice") is False
    assert await accept(pool, image_id, owner="alice") is True


async def test_accepting_again_changes_neither_status_nor_time(pool: Pool) -> None:
    image_id = uuid4()
    await accept(pool, image_id, owner="alice", media_type="image/png")
    async with pool.connection() as connection:
        before = await images.status(connection, image_id)

    await accept(pool, image_id, owner="alice", media_type="image/png")

    async with pool.connection() as connection:
        after = await images.status(connection, image_id)
    assert before == after
    assert before is not None
    assert (before.status, before.media_type) == ("accepted", "image/png")
    assert before.tags is None


async def test_a_row_is_seen_by_its_own_transaction_and_not_after_a_rollback(
    pool: Pool,
) -> None:
    image_id = uuid4()

    async def accept_and_fail() -> None:
        async with pool.transaction() as tx:
            await images.accept(tx, image_id=image_id, uri="https://x/a", path="a")
            assert await images.status(tx, image_id) is not None
            raise KeyError

    with pytest.raises(KeyError):
        await accept_and_fail()

    async with pool.connection() as connection:
        assert await images.status(connection, image_id) is None


async def test_pages_show_an_owner_what_is_theirs_or_nobodys(pool: Pool) -> None:
    mine, theirs, nobodys = uuid4(), uuid4(), uuid4()
    await accept(pool, mine, owner="alice")
    await accept(pool, theirs, owner="bob")
    await accept(pool, nobodys)

    async with pool.connection() as connection:
        for_alice = await image_pages.page(
            connection, ImageFilter(owner="alice"), Order.ARRIVAL, 10
        )
        for_all = await image_pages.page(connection, ImageFilter(), Order.ARRIVAL, 10)

    assert {one.image.image_id for one in for_alice} == {mine, nobodys}
    assert len(for_all) == 3


async def test_a_page_goes_on_where_the_one_before_ended(pool: Pool) -> None:
    for _ in range(5):
        await accept(pool, uuid4(), job_id=None)
    seen: list[UUID] = []
    after: PagePlace | None = None

    for _ in range(3):
        async with pool.connection() as connection:
            page = await image_pages.page(connection, ImageFilter(), Order.ARRIVAL, 2, after)
        seen += [one.image.image_id for one in page]
        after = page[-1].place

    assert len(seen) == len(set(seen)) == 5


async def test_a_jobs_images_are_counted_by_status(pool: Pool) -> None:
    job_id = uuid4()
    await accept(pool, uuid4(), job_id=job_id)
    await accept(pool, uuid4(), job_id=job_id)
    await accept(pool, uuid4())

    async with pool.connection() as connection:
        assert await images.job_counts(connection, job_id) == {"accepted": 2}
        wanted = ImageFilter(job_id=job_id, status="accepted")
        page = await image_pages.page(connection, wanted, Order.ARRIVAL, 9)
        assert len(page) == 2


async def ask(pool: Pool, query_id: UUID, fingerprint: bytes) -> str:
    async with pool.transaction() as tx:
        return await queries.accept(
            tx,
            query_id=query_id,
            owner="alice",
            text="cats",
            callback_url="https://example.org/",
            options={"top_n": 2},
            fingerprint=fingerprint,
        )


async def test_a_query_is_new_then_same_then_other(pool: Pool) -> None:
    query_id = uuid4()

    said = [await ask(pool, query_id, fingerprint) for fingerprint in (b"a", b"a", b"b")]

    assert said == ["new", "same", "other"]
    async with pool.connection() as connection:
        status = await queries.status(connection, query_id)
        unknown = await queries.status(connection, uuid4())
    assert status is not None
    assert (status.status, status.options, status.deliveries) == ("accepted", {"top_n": 2}, ())
    assert unknown is None


async def test_a_job_is_kept_as_it_was_asked_for(pool: Pool) -> None:
    job_id, options = uuid4(), DirectoryOptions(("pizza",), 2, (".jpg",))
    async with pool.transaction() as tx:
        await jobs.create(
            tx, job_id=job_id, root="photos", directory="2024", options=options, owner="alice",
            total=3,
        )  # fmt: skip

    async with pool.connection() as connection:
        job = await jobs.get(connection, job_id)
        unknown = await jobs.get(connection, uuid4())

    assert job is not None
    assert (job.state, job.total, job.options, job.owner) == ("waiting", 3, options, "alice")
    assert unknown is None


async def test_outbox_rows_are_numbered_counted_and_forgotten(pool: Pool) -> None:
    async with pool.transaction() as tx:
        new = await outbox.add(tx, [ARRIVED, ARRIVED, ARRIVED])

    ids = [row.id for row in new]
    assert ids == sorted(set(ids))
    assert await outbox.count(pool, bound=10) == 3
    assert await outbox.count(pool, bound=1) == 2  # counting ends one above the bound
    await outbox.delete(pool, ids[:2])
    await outbox.delete(pool, ids[:2])
    async with pool.transaction() as tx:
        await outbox.settle(tx, [(new[2], Place(ARRIVED.topic, 1, 2))], [])
    assert await outbox.count(pool, bound=10) == 0


async def test_a_key_is_found_and_an_unknown_one_is_not(pool: Pool) -> None:
    made = make_key()
    row = NewKey(made.key_id, "alice", "", made.digest, (Scope.READ.value,))
    await keys.add(pool, row)

    async with pool.connection() as connection:
        found = await keys.find(connection, made.key_id)
        unknown = await keys.find(connection, "00000000")

    assert found is not None
    assert (found.owner, found.scopes) == ("alice", ("read",))
    assert found.is_usable(datetime.now(UTC))
    assert unknown is None


async def test_a_database_that_cannot_be_reached_says_so() -> None:
    async with open_pool(DatabaseSettings(url="postgresql://app:app@127.0.0.1:1/x")) as pool:
        with pytest.raises(DatabaseAway):
            async with pool.connection():
                pass
