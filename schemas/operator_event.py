"""What happens to the archive itself, for those who run it: webhooks like those of answers."""

from enum import StrEnum
from uuid import UUID

from pydantic import Field, JsonValue

from schemas.strict import Event, Moment, Text


class OperatorEventType(StrEnum):
    """What happened; also the `type` of the webhook's body."""

    TARGET_DISABLED = "target.disabled"
    PARTITION_HALTED = "partition.halted"
    JOB_FINISHED = "job.finished"
    BACKLOG_GROWS = "backlog.grows"
    DATABASE_FORGOT = "database.forgot"


class OperatorNotice(Event):
    """An operator event on its way to one endpoint: what `deliveries.event` holds for it.

    Attributes:
        operator_event_id: the same for all endpoints.
        webhook_id: of this endpoint's webhook.
        data: what it is about; its fields are listed in docs/operations.md.
    """

    operator_event_id: UUID
    webhook_id: UUID
    type: OperatorEventType
    url: Text
    owner: Text | None = None
    happened_at: Moment
    data: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def query_id(self) -> UUID:
        """Under what it stands among the webhooks of queries: its own id, which no query has.

        Not the event's, which several endpoints share: redelivery takes one webhook per query.
        """
        return self.webhook_id
