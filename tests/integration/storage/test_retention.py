"""What is pruned, and what is kept."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr, ValidationError

from consumers.upkeep.pruning import Pruner
from core.settings import DatabaseSettings, RetentionSettings
from core.storage import retention
from core.storage.connecting import TimeLimits
from core.storage.delivery import interventions, targets
from core.storage.pool import Pool, open_pool
from core.storage.retention import Portion
from tests.fakes.blobs import MemoryKeeper

OLD = "now() - interval '400 days'"


async def fill(pool: Pool, age: str) -> None:
    """Insert one row of this age into every table that grows."""
    image, sha = uuid4(), uuid4().bytes * 2
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status) VALUES ($1, $2, 'p', 'failed')",
        image,
        f"file:p/{image}",
    )
    await pool.execute(
        f"INSERT INTO failures (image_id, reason, detail, last_at) VALUES ($1, 'r', 'd', {age})",
        image,
    )
    await pool.execute(
        "INSERT INTO queries (query_id, text, callback_url, status, answered_at) "
        f"VALUES ($1, 't', 'u', 'answered', {age})",
        uuid4(),
    )
    await pool.execute(
        "INSERT INTO deliveries (delivery_id, query_id, target, url, event, state, finished_at) "
        f"VALUES ($1, $1, 'h', 'u', '{{}}', 'delivered', {age})",
        uuid4(),
    )
    await pool.execute(
        "INSERT INTO dead_letters "
        "(grp, topic, part, log_offset, headers, value, reason, created_at) "
        f"VALUES ('g', $1, 0, 0, '[]', '', 'r', {age})",
        str(uuid4()),
    )
    await pool.execute(
        f"INSERT INTO blobs (sha256, size_bytes, content, created_at) VALUES ($1, 1, 'x', {age})",
        sha,
    )
    await pool.execute(
        "INSERT INTO embeddings (sha256, model, preprocessing, embedding, created_at) "
        f"VALUES ($1, 'm', 'p', '[1,2]', {age})",
        sha,
    )
    await pool.execute(
        "INSERT INTO label_previews (preview_id, owner, labels, sample, created_at) "
        f"VALUES ($1, 'o', '[]', 1, {age})",
        uuid4(),
    )


def pruner(
    pool: Pool,
    settings: RetentionSettings,
    outside: MemoryKeeper | None = None,
    failed: list[str] | None = None,
) -> Pruner:
    told: list[str] = [] if failed is None else failed
    return Pruner(
        pool.transaction, {"kept_bytes": outside or MemoryKeeper()}, settings, told.append
    )


async def round_of(one: Pruner) -> Counter[str]:
    while await one.step():
        pass
    return Counter(one.gone)


async def prune(pool: Pool, settings: RetentionSettings) -> Counter[str]:
    return await round_of(pruner(pool, settings))


async def counts(pool: Pool) -> dict[str, int]:
    return {
        table: await pool.fetchval(f"SELECT count(*) FROM {table}")
        for table in (
            "failures", "queries", "deliveries", "dead_letters", "blobs", "embeddings",
            "label_previews",
        )
    }  # fmt: skip


async def test_old_rows_go_and_young_ones_stay(pool: Pool) -> None:
    await fill(pool, OLD)
    await fill(pool, "now()")

    await prune(pool, RetentionSettings())

    assert set((await counts(pool)).values()) == {1}


async def test_zero_days_keep_for_ever(pool: Pool) -> None:
    await fill(pool, OLD)
    for_ever = RetentionSettings(
        queries_days=0, deliveries_days=0, failures_days=0, dead_letters_days=0
    )

    await prune(pool, for_ever)

    left = await counts(pool)
    assert [left[t] for t in ("failures", "queries", "deliveries", "dead_letters")] == [1] * 4


async def test_what_is_still_wanted_is_kept_whatever_its_age(pool: Pool) -> None:
    sha = b"s" * 32
    await pool.execute(
        f"INSERT INTO blobs (sha256, size_bytes, content, created_at) VALUES ($1, 1, 'x', {OLD})",
        sha,
    )
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status, sha256) "
        "VALUES ($1, 'blob:x', 'p', 'accepted', $2)",
        uuid4(),
        sha,
    )
    await pool.execute(
        "INSERT INTO queries (query_id, text, callback_url, status, accepted_at) "
        f"VALUES ($1, 't', 'u', 'accepted', {OLD})",
        uuid4(),
    )
    await pool.execute(
        "INSERT INTO deliveries (delivery_id, query_id, target, url, event, state, created_at) "
        f"VALUES ($1, $1, 'h', 'u', '{{}}', 'due', {OLD})",
        uuid4(),
    )

    await prune(pool, RetentionSettings())

    left = await counts(pool)
    assert (left["blobs"], left["queries"], left["deliveries"]) == (1, 1, 1)


async def test_two_pruners_do_not_work_at_once(pool: Pool) -> None:
    await fill(pool, OLD)

    async with pool.transaction() as first:
        assert (await retention.prune(first, "queries", timedelta(days=1))).rows == 1
        async with pool.transaction() as second:
            other = await retention.prune(second, "deliveries", timedelta(days=1))

    assert other == Portion()


async def test_events_of_hosts_are_pruned_after_their_time(pool: Pool) -> None:
    async with pool.transaction() as tx:
        await targets.disable(tx, "https://a.example:443", actor="operator")
        await targets.resume(tx, "https://a.example:443", actor="operator")
    await pool.execute(f"UPDATE target_events SET at = {OLD} WHERE event = 'disabled'")

    await prune(pool, RetentionSettings(failures_days=0))
    kept = await pool.fetchval("SELECT count(*) FROM target_events")
    await prune(pool, RetentionSettings())

    assert kept == 2
    assert [row["event"] for row in await pool.fetch("SELECT event FROM target_events")] == [
        "resumed"
    ]
    assert await pool.fetchval("SELECT count(*) FROM targets") == 1


async def test_a_host_that_was_resumed_long_ago_is_forgotten_and_a_disabled_one_is_not(
    pool: Pool,
) -> None:
    async with pool.transaction() as tx:
        for name in ("resumed", "disabled", "lately"):
            await targets.disable(tx, name, actor="operator")
        for name in ("resumed", "lately"):
            await targets.resume(tx, name, actor="operator")
    await pool.execute(f"UPDATE targets SET changed_at = {OLD} WHERE target <> 'lately'")

    await prune(pool, RetentionSettings())

    assert {row["target"] for row in await pool.fetch("SELECT target FROM targets")} == {
        "disabled",
        "lately",
    }


async def test_what_comes_to_life_at_this_moment_is_not_pruned(pool: Pool) -> None:
    """Whoever waits for a row looks at its age again only if told to."""
    webhook = uuid4()
    await fill(pool, OLD)
    await pool.execute("UPDATE deliveries SET state = 'dead', delivery_id = $1", webhook)
    async with pool.transaction() as tx:
        await targets.disable(tx, "once", actor="operator")
        await targets.resume(tx, "once", actor="operator")
    await pool.execute(f"UPDATE targets SET changed_at = {OLD}")

    async with pool.transaction() as tx:
        await interventions.make_due_again(tx, [webhook])
        await targets.disable(tx, "once", actor="breaker")
        pruning = asyncio.create_task(prune(pool, RetentionSettings()))
        waiting = asyncio.create_task(somebody_waits(pool))
        await asyncio.wait({pruning, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    await pruning

    assert await pool.fetchval("SELECT disabled_at IS NOT NULL FROM targets")
    assert await pool.fetchval("SELECT state FROM deliveries") == "due"


async def somebody_waits(pool: Pool) -> None:
    """Return once a statement waits for a row."""
    while not await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
        await asyncio.sleep(0.01)


async def test_counts_of_hours_go_that_nobody_is_shown(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO totals (kind, key, images) VALUES ('hour', '2020-01-01T00', 3),"
        " ('hour', hour_of(now()), 4), ('day', '2020-01-01', 5)"
    )

    await prune(pool, RetentionSettings())

    left = await pool.fetch("SELECT kind, images FROM totals ORDER BY kind")
    assert [(row["kind"], row["images"]) for row in left] == [("day", 5), ("hour", 4)]


async def test_a_long_backlog_goes_portion_by_portion_in_one_round(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO queries (query_id, text, callback_url, status, answered_at) "
        f"SELECT gen_random_uuid(), 't', 'u', 'answered', {OLD} FROM generate_series(1, 1234)"
    )
    await pool.execute(
        "INSERT INTO blobs (sha256, size_bytes, content, created_at) "
        f"SELECT sha256(n::text::bytea), 1, 'x', {OLD} FROM generate_series(1, 4321) n"
    )

    gone = await prune(pool, RetentionSettings())

    assert (gone["queries"], gone["blobs"]) == (1234, 4321)


async def test_a_table_that_fails_is_told_and_holds_up_no_other(
    pool: Pool, database_url: str
) -> None:
    await fill(pool, OLD)
    failed: list[str] = []
    settings = DatabaseSettings(url=SecretStr(database_url))
    async with open_pool(settings, limits=TimeLimits(lock_s=0.2)) as other:
        one = pruner(other, RetentionSettings(), failed=failed)

        async with pool.transaction() as tx:
            await tx.execute("LOCK TABLE queries IN ACCESS EXCLUSIVE MODE")
            gone = await round_of(one)

        assert failed == ["queries", "deleted_queries"]
        assert (gone["queries"], gone["dead_letters"], gone["blobs"]) == (0, 1, 1)
        assert (await round_of(one))["queries"] == 1


@pytest.mark.parametrize("index", ["queries_answered", "dead_letters_created"])
async def test_what_ages_is_found_by_an_index(pool: Pool, index: str) -> None:
    table = index.partition("_created")[0].partition("_answered")[0]
    async with pool.transaction() as tx:
        await tx.execute("SET LOCAL enable_seqscan = off")
        plan = await tx.fetch(
            f"EXPLAIN {retention.statement(table)}", timedelta(days=1), retention.PORTION
        )

    assert any(index in row[0] for row in plan)


def test_a_retention_beyond_what_postgresql_can_subtract_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError):
        RetentionSettings(queries_days=10**7)


async def test_thumbnails_go_with_the_last_image_of_their_picture_and_large_ones_by_age(
    pool: Pool,
) -> None:
    shown, gone = b"s" * 32, b"g" * 32
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status, sha256)"
        " VALUES ($1, 'u', 'p', 'tagged', $2)",
        uuid4(), shown,
    )  # fmt: skip
    for digest in (shown, gone):
        for size, days in (("small", 400), ("large", 20)):
            await pool.execute(
                "INSERT INTO thumbs (sha256, size, content, created_at)"
                " VALUES ($1, $2, 'x', now() - $3 * interval '1 day')",
                digest, size, days,
            )  # fmt: skip

    async def left() -> list[tuple[bytes, str]]:
        await prune(pool, RetentionSettings())
        return [
            tuple(row) for row in await pool.fetch("SELECT sha256, size FROM thumbs ORDER BY 2")
        ]

    assert await left() == [(shown, "large"), (shown, "small")]
    await pool.execute("UPDATE thumbs SET created_at = now() - interval '40 days'")
    assert await left() == [(shown, "small")]


async def test_bytes_kept_outside_go_when_no_image_refers_to_them(pool: Pool) -> None:
    outside = MemoryKeeper()
    used, unused, young = (bytes([number]) * 32 for number in range(3))
    for digest in (used, unused, young):
        await outside.put(digest, b"x", None)
    outside.put_at.update({used: 0.0, unused: 0.0})
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status, sha256) "
        "VALUES ($1, 'blob:x', 'p', 'accepted', $2)",
        uuid4(),
        used,
    )

    gone = await round_of(pruner(pool, RetentionSettings(), outside))

    assert gone["kept_bytes"] == 1
    assert set(outside.contents) == {used, young}


async def test_jobs_members_and_tombstones_are_pruned_after_their_time(pool: Pool) -> None:
    for age in (OLD, "now()"):
        await pool.execute(
            "INSERT INTO jobs (job_id, kind, root, directory, state, finished_at) "
            f"VALUES ($1, 'directory', 'r', '', 'done', {age})",
            uuid4(),
        )
        await pool.execute(
            "INSERT INTO members (grp, instance, member_id, updated_at) "
            f"VALUES ('g', $1, 'm', {age})",
            str(uuid4()),
        )
        await pool.execute(
            "INSERT INTO images (image_id, uri, path, status, deleted_at) "
            f"VALUES ($1, 'blob:x', 'p', 'deleted', {age})",
            uuid4(),
        )

    await prune(pool, RetentionSettings())

    for table in ("jobs", "members", "images"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 1, table
