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
SELECT i.image_id, i.uri, i.path, greatest(i.arrived_at, i.event_time) AS last_at {_WHERE}
  AND ($5::uuid IS NULL OR i.image_id > $5) AND {{which}} ORDER BY i.image_id LIMIT $6
"""
_TEACHERS = "(ARRAY(SELECT unnest(photos) FROM labels WHERE photos <> '{}'))"
_CHOOSE_TEACHERS = _CHOOSE.format(which=f"i.image_id = ANY {_TEACHERS}")
_CHOOSE_OTHERS = _CHOOSE.format(which=f"i.image_id <> ALL {_TEACHERS}")
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
        teaches: a label goes by it.
    """

    image_id: UUID
    uri: str
    path: str
    last_at: datetime
    teaches: bool = False


async def choose(
    connection: Transaction, choice: Choice, *, after: ChosenImage | None, limit: int
) -> list[ChosenImage]:
    """Return the images of a choice, from behind `after`.

    First come those that teach labels, which wait until a new model knows them; then all others.
    Both by ascending id.
    """
    found: list[ChosenImage] = []
    for teaches, statement in ((True, _CHOOSE_TEACHERS), (False, _CHOOSE_OTHERS)):
        if len(found) == limit or (after is not None and teaches > after.teaches):
            continue
        behind = after.image_id if after is not None and after.teaches == teaches else None
        rest = limit - len(found)
        rows = await connection.fetch(statement, *_arguments(choice), behind, rest)
        found += [
            ChosenImage(row["image_id"], row["uri"], row["path"], row["last_at"], teaches)
            for row in rows
        ]
    return found


async def count(connection: Transaction, choice: Choice) -> int:
    """Return how many images a choice covers."""
    number: int = await connection.fetchval(_COUNT, *_arguments(choice))
    return number


def _arguments(choice: Choice) -> tuple[bool, str | None, str | None, bool]:
    return choice.only_failed, choice.model, choice.except_model, choice.with_own_labels
