"""What is pruned, and what is kept."""

from datetime import timedelta
from uuid import uuid4

from consumers.housekeeping import Pruner, ages
from core.settings import RetentionSettings
from core.storage import hosts, retention
from core.storage.pool import Pool

OLD = "now() - interval '400 days'"


async def fill(pool: Pool, age: str) -> None:
    """One row of everything that grows, of this age."""
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
        "INSERT INTO deliveries (delivery_id, query_id, host, url, event, state, finished_at) "
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

    await Pruner(pool.transaction, RetentionSettings()).prune_portion()

    assert set((await counts(pool)).values()) == {1}


async def test_zero_days_keep_for_ever(pool: Pool) -> None:
    await fill(pool, OLD)
    for_ever = RetentionSettings(
        queries_days=0, deliveries_days=0, failures_days=0, dead_letters_days=0
    )

    await Pruner(pool.transaction, for_ever).prune_portion()

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
        "INSERT INTO deliveries (delivery_id, query_id, host, url, event, state, created_at) "
        f"VALUES ($1, $1, 'h', 'u', '{{}}', 'due', {OLD})",
        uuid4(),
    )

    await Pruner(pool.transaction, RetentionSettings()).prune_portion()

    left = await counts(pool)
    assert (left["blobs"], left["queries"], left["deliveries"]) == (1, 1, 1)


async def test_two_pruners_do_not_work_at_once(pool: Pool) -> None:
    await fill(pool, OLD)

    async with pool.transaction() as first:
        assert (await retention.prune(first, ages(RetentionSettings())))["queries"] == 1
        async with pool.transaction() as second:
            assert await retention.prune(second, {"queries": timedelta(days=1)}) == {}


async def test_events_of_hosts_are_pruned_after_their_time(pool: Pool) -> None:
    async with pool.transaction() as tx:
        await hosts.disable(tx, "a.example", actor="operator")
        await hosts.resume(tx, "a.example", actor="operator")
    await pool.execute(f"UPDATE host_events SET at = {OLD} WHERE event = 'disabled'")

    await Pruner(pool.transaction, RetentionSettings(host_events_days=0)).prune_portion()
    kept = await pool.fetchval("SELECT count(*) FROM host_events")
    await Pruner(pool.transaction, RetentionSettings()).prune_portion()

    assert kept == 2
    assert [row["event"] for row in await pool.fetch("SELECT event FROM host_events")] == [
        "resumed"
    ]
    assert await pool.fetchval("SELECT count(*) FROM hosts") == 1
