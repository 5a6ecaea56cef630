"""The standby of the PostgreSQL that we are connected to, as that one sees it."""

from dataclasses import dataclass

from core.transaction import Transaction

# Who may not see the state of others' connections sees that they are there.
_LOOK = """
SELECT current_setting('synchronous_standby_names') <> '' AS is_waited_for,
       EXISTS (SELECT FROM pg_stat_replication WHERE coalesce(state, 'streaming') = 'streaming')
           AS is_there
"""


@dataclass(frozen=True, slots=True)
class StandbyLook:
    """How it is.

    Attributes:
        is_there: whether one follows.
        is_waited_for: whether a commit waits until it is on the standby's disk.
    """

    is_there: bool
    is_waited_for: bool

    @property
    def told(self) -> str:
        """Return what that means, in one sentence."""
        if not self.is_there:
            return "no standby follows: the primary is alone, and its death an outage"
        if not self.is_waited_for:
            return "it is not waited for: what it lacks is lost with the primary"
        return "it is waited for: either server may die"


async def look(connection: Transaction) -> StandbyLook:
    """Return how the standby is.

    Raises:
        DatabaseAway: PostgreSQL is away.
    """
    row = await connection.fetchrow(_LOOK)
    return StandbyLook(
        is_there=bool(row and row["is_there"]), is_waited_for=bool(row and row["is_waited_for"])
    )
