"""The Kafka member id of each running instance, so that its next life can evict it."""

from core.transaction import Transaction

_PREDECESSOR = "SELECT member_id FROM members WHERE grp = $1 AND instance = $2"
_STORE = """
INSERT INTO members (grp, instance, member_id) VALUES ($1, $2, $3)
ON CONFLICT (grp, instance) DO UPDATE SET member_id = excluded.member_id, updated_at = now()
"""


async def predecessor(connection: Transaction, group: str, instance: str) -> str | None:
    """Return the member id that the last life of this instance stored; None if it is the first."""
    member_id: str | None = await connection.fetchval(_PREDECESSOR, group, instance)
    return member_id


async def store(connection: Transaction, group: str, instance: str, member_id: str) -> None:
    """Keep the member id of this life."""
    await connection.execute(_STORE, group, instance, member_id)
