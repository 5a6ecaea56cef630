"""Notes of what has changed are forgotten, however many there are."""

from core.storage.pool import Pool
from core.storage.stream import changes


async def test_old_notes_are_forgotten_in_portions_and_fresh_ones_stay(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO changes (kind, ids, noted_at)"
        " SELECT 'image', ARRAY[gen_random_uuid()], now() - interval '3 minutes'"
        " FROM generate_series(1, 5)"
    )
    await pool.execute("INSERT INTO changes (kind, ids) VALUES ('query', ARRAY[gen_random_uuid()])")

    has_more = [await changes.prune(pool, portion=2) for _ in range(3)]

    assert has_more == [True, True, False]
    assert await pool.fetchval("SELECT array_agg(kind) FROM changes") == ["query"]
