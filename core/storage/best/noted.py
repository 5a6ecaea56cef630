"""Images that somebody else changed, for as long as `image_tags` has not followed."""

from core.transaction import Transaction

_ANY = "SELECT EXISTS (SELECT FROM noted_images)"


async def exist(connection: Transaction) -> bool:
    """Return whether any image is noted."""
    return bool(await connection.fetchval(_ANY))


async def table(connection: Transaction) -> str:
    """Return what an exact query reads: `image_tags`, or `current_tags` while images are noted.

    A change that comes between this look and the query counts as one that came after the query.
    """
    return "current_tags" if await exist(connection) else "image_tags"
