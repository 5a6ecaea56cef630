"""Policy and resolver combined: whether a URL may be called, and at which addresses."""

from dataclasses import dataclass

from core.egress.addresses import IPAddress
from core.egress.resolver import Resolver
from core.egress.targets import Target, TargetPolicy


@dataclass(frozen=True, slots=True)
class TargetGuard:
    """Checks URLs at submission, for the ingress, and at every connect, for the client.

    The check at connect is authoritative, since names may resolve differently by then.
    """

    policy: TargetPolicy
    resolver: Resolver

    async def check(self, url: str) -> Target:
        """Return the canonical target, its name looked up and all its addresses passed.

        Raises:
            TargetForbidden: the URL or one of the addresses breaks a rule; the message says which.
            TargetUnreachable: the name cannot be resolved now. At submission that is no reason to
                refuse: it may resolve by the time of delivery.
        """
        target = self.policy.check_url(url)
        if target.address is None:
            for address in await self.addresses(target.host):
                self.policy.check_own(target.host, address, target.port)
        return target

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """Return all addresses of a host name; none of them is denied.

        Raises:
            TargetForbidden: at least one address is denied.
            TargetUnreachable: the name cannot be resolved now.
        """
        found = await self.resolver.addresses(host)
        self.policy.check_resolved(host, found)
        return found
