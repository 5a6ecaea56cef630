"""What clients get of what they have deleted."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from ingress.models.responses import Output


class DeletedImage(Output):
    """An image that is no more."""

    image_id: UUID
    deleted_at: datetime


class DeletedQuery(Output):
    """A query that is no more, nor its webhooks."""

    query_id: UUID
    deleted_at: datetime
    withdrawn: int = Field(description="Webhooks of it that waited, and are not sent.")
