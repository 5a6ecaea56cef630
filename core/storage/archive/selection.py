"""Images chosen to be announced again."""

from dataclasses import dataclass
from datetime import datetime
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
SELECT i.image_id, i.uri, i.path, greatest(i.arrived_at, i.event_time) {_WHERE}
  AND ($5::uuid IS NULL OR i.image_id > $5) ORDER BY i.image_id LIMIT $6
"""
_COUNT = f"SELECT count(*) {_WHERE}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which images; all that are set must hold.

    Attributes:
        only_failed: those whose last attempt failed.
        model: those tagged by this model.
        except_model: those not tagged by this model.
        with_own_labels: also those that were given their own labels, which an announcement
            without labels would replace by the default ones.
    """

    only_failed: bool = False
    model: str | None = None
    except_model: str | None = None
    with_own_labels: bool = False


@dataclass(frozen=True, slots=True)
class ChosenImage:
    """What an announcement needs to know of an image.

    Attributes:
        last_at: of its last arrival, as far as it was dealt with.
    """

    image_id: UUID
    uri: str
    path: str
    last_at: datetime


async def choose(
    connection: Transaction, choice: Choice, *, after: UUID | None, limit: int
) -> list[ChosenImage]:
    """Return the images of a choice by ascending id, from behind `after`."""
    rows = await connection.fetch(_CHOOSE, *_arguments(choice), after, limit)
    return [ChosenImage(*row) for row in rows]


async def count(connection: Transaction, choice: Choice) -> int:
    """Return how many images a choice covers."""
    number: int = await connection.fetchval(_COUNT, *_arguments(choice))
    return number


def _arguments(choice: Choice) -> tuple[bool, str | None, str | None, bool]:
    return choice.only_failed, choice.model, choice.except_model, choice.with_own_labels
