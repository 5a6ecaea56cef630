"""Images chosen to be announced again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from core.transaction import Transaction

_WHERE = """
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.status NOT IN ('deleted', 'missing')
  AND (NOT $1 OR i.status = 'failed' OR i.reason IS NOT NULL)
  AND ($2::text IS NULL OR t.model = $2)
  AND ($3::text IS NULL OR t.model IS DISTINCT FROM $3)
  AND ($4 OR t.image_id IS NULL OR t.label_version IS NOT NULL)
"""
_CHOOSE = f"""
SELECT i.image_id, i.uri, i.path, i.owner, i.arrived_at {_WHERE}
  AND ($5::uuid IS NULL OR i.image_id > $5) ORDER BY i.image_id LIMIT $6
"""
_COUNT = f"SELECT count(*) {_WHERE}"


class Choice(Protocol):
    """Which images (satisfied by `producers.retag.Choice`)."""

    @property
    def only_failed(self) -> bool: ...  # noqa: D102
    @property
    def model(self) -> str | None: ...  # noqa: D102
    @property
    def except_model(self) -> str | None: ...  # noqa: D102
    @property
    def with_own_labels(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ChosenImage:
    """What an announcement needs to know of an image."""

    image_id: UUID
    uri: str
    path: str
    owner: str | None
    arrived_at: datetime


class ChosenImages:
    """Selects rows of `images`."""

    def __init__(self, connection: Transaction) -> None:
        self._connection = connection

    async def choose(self, choice: Choice, *, after: UUID | None, limit: int) -> list[ChosenImage]:
        """Return images by ascending id from behind `after`.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        rows = await self._connection.fetch(_CHOOSE, *_arguments(choice), after, limit)
        return [ChosenImage(*row) for row in rows]

    async def count(self, choice: Choice) -> int:
        """Return how many images the choice covers.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        number: int = await self._connection.fetchval(_COUNT, *_arguments(choice))
        return number


def _arguments(choice: Choice) -> tuple[bool, str | None, str | None, bool]:
    return choice.only_failed, choice.model, choice.except_model, choice.with_own_labels
