"""The standby of the PostgreSQL that we are connected to, as that one sees it."""

from dataclasses import dataclass

from core.transaction import Transaction

# A logical subscriber streams too, and so does what only keeps the log (`pg_receivewal`, and a copy
# that is being made): neither can take the primary's place. The first holds a logical slot; the
# second never tells what it has replayed. Who may not see the state of others' connections sees
# that they are there, and their pids: what he cannot know counts as well.
_LOOK = """
WITH standbys AS (
    SELECT sync_state FROM pg_stat_replication
    WHERE (state IS NULL OR state = 'streaming' AND replay_lsn IS NOT NULL)
      AND pid NOT IN (SELECT active_pid FROM pg_replication_slots
                      WHERE slot_type = 'logical' AND active_pid IS NOT NULL)
)
SELECT count(*) > 0 AS is_there,
       current_setting('synchronous_standby_names') <> ''
       AND count(*) FILTER (WHERE coalesce(sync_state, 'sync') IN ('sync', 'quorum')) > 0
           AS is_waited_for
FROM standbys
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
