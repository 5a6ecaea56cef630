"""What clients get of what they have deleted."""

from datetime import datetime
from uuid import UUID

from ingress.responses import Output


class DeletedImage(Output):
    """An image that is no more."""

    image_id: UUID
    deleted_at: datetime
