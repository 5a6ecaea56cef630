"""The Kafka member id of each running instance, so that its next life can evict it."""

from core.storage.pool import Pool

_PREDECESSOR = "SELECT member_id FROM members WHERE grp = $1 AND instance = $2"
_STORE = """
INSERT INTO members (grp, instance, member_id) VALUES ($1, $2, $3)
ON CONFLICT (grp, instance) DO UPDATE SET member_id = excluded.member_id, updated_at = now()
"""


class MemberTable:
    """The table `members`, seen by one group."""

    def __init__(self, pool: Pool, *, group: str) -> None:
        self._pool = pool
        self._group = group

    async def predecessor(self, instance: str) -> str | None:
        """The member id that the last life of this instance stored; None if it is the first."""
        member_id: str | None = await self._pool.fetchval(_PREDECESSOR, self._group, instance)
        return member_id

    async def store(self, instance: str, member_id: str) -> None:
        """Remember the member id of this life."""
        await self._pool.execute(_STORE, self._group, instance, member_id)
