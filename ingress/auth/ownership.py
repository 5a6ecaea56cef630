"""Which images a caller may see and change, by the rule of `core.storage.archive.ownership`."""

from uuid import UUID

from core.storage.archive import images, ownership
from core.storage.archive.images import ImageStatus
from core.transaction import Transaction
from ingress.auth.access import Principal, require
from ingress.auth.api_keys import Scope
from ingress.http.problems import Problem


async def visible_image(
    connection: Transaction, image_id: UUID, principal: Principal | None
) -> ImageStatus:
    """Return an image that the caller may see.

    Args:
        principal: None: the request came with a signed link, which stands for the right to see it.

    Raises:
        Problem: `image_not_found`.
    """
    owner = None if principal is None else principal.own_only
    status = await images.visible_status(connection, image_id, owner)
    # Another owner's image and an unknown id give the same answer: nobody can probe ids.
    if status is None:
        raise not_found(image_id)
    return status


async def require_change(connection: Transaction, image_id: UUID, principal: Principal) -> None:
    """Check that the caller may change an image: an owner or an administrator.

    Raises:
        Problem: `image_not_found` where the caller may not see it, else `scope_missing`.
    """
    if principal.is_admin:
        return
    rights = await ownership.rights(connection, image_id, principal.owner)
    if rights is not None and rights.is_owner:
        return
    if rights is None or not (rights.may_see and principal.may(Scope.READ)):
        raise not_found(image_id)
    require(principal, Scope.ADMIN, f"{principal.owner!r} does not own the image {image_id}: ")


def not_found(image_id: UUID) -> Problem:
    """Return the answer for images that do not exist, or not for this caller."""
    return Problem("image_not_found", f"no image {image_id}")
