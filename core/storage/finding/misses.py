"""Which restrictions of a filter an image does not meet: why a search does not find it."""

from uuid import UUID

from core.storage.finding import filter_sql
from core.storage.finding.filter_sql import Arguments
from core.storage.finding.filters import ImageFilter
from core.transaction import Transaction


async def misses(connection: Transaction, wanted: ImageFilter, image_id: UUID) -> frozenset[str]:
    """Return the codes of the restrictions that an image does not meet, by their own SQL."""
    arguments = Arguments()
    tags = await filter_sql.table(connection, wanted)
    restrictions = tuple(filter_sql.conditions(wanted, arguments, tags=tags))
    if not restrictions:
        return frozenset()
    columns = ", ".join(
        f"coalesce({one.sql}, false) AS c{number}" for number, one in enumerate(restrictions)
    )
    row = await connection.fetchrow(
        f"SELECT {columns} FROM images i LEFT JOIN tagged_images t USING (image_id)"
        f" WHERE i.image_id = {arguments.add(image_id, 'uuid')}",
        *arguments.values,
    )
    if row is None:
        return frozenset()
    return frozenset(one.code for one, holds in zip(restrictions, row, strict=True) if not holds)
