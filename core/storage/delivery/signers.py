"""Under which names the secrets are kept that sign webhooks of an owner to an address."""

from collections.abc import Sequence

from core.storage.delivery import endpoints
from core.storage.keys import INSTANCE
from core.transaction import Transaction


async def signers(connection: Transaction, owner: str | None, url: str) -> Sequence[str]:
    """Return the names, of which the first that has secrets signs.

    The address's own where the owner registered it, then the owner's, then the instance's.
    """
    if not owner:
        return (INSTANCE,)
    endpoint_id = await endpoints.find(connection, owner, url)
    own = () if endpoint_id is None else (endpoints.secrets_owner(endpoint_id),)
    return (*own, owner, INSTANCE)
