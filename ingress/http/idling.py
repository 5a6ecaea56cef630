"""Connections on which no request is under way, by whom they were last used."""

import ipaddress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")
SEAT = "photo_archive.seat"  # scope key: the `Seat` of the connection that a request came over
ADDRESS = "address:"
#: A client of IPv6 usually has a whole /64 of addresses: they count as one.
_IPV6_PREFIX = 64


@dataclass(slots=True)
class Seat:
    """Who holds a connection: a key's id once a request with a valid key came, else an address.

    Attributes:
        pause_s: for how long nothing more is read: a request was refused for so long.
    """

    holder: str
    pause_s: float = 0.0

    @property
    def is_strangers(self) -> bool:
        """Whether no valid key has come over the connection yet."""
        return self.holder.startswith(ADDRESS)


@dataclass(slots=True)
class IdleConnections(Generic[ConnectionT]):
    """The idle connections of each holder, those that idle longest first.

    An idle connection is worth little: new ones, whose headers may never come, and kept ones
    between two requests. So there may be many, and when there are too many, the holder with the
    most of them loses the one that idles longest; nobody else notices.
    """

    _holder_of: dict[ConnectionT, str] = field(default_factory=dict)
    _of_holder: dict[str, dict[ConnectionT, None]] = field(default_factory=dict)

    def add(self, connection: ConnectionT, holder: str) -> None:
        """Note that a connection idles from now on."""
        self.remove(connection)
        self._holder_of[connection] = holder
        self._of_holder.setdefault(holder, {})[connection] = None

    def remove(self, connection: ConnectionT) -> None:
        """Note that a connection does not idle, whether it did or not."""
        holder = self._holder_of.pop(connection, None)
        if holder is None:
            return
        del self._of_holder[holder][connection]
        if not self._of_holder[holder]:
            del self._of_holder[holder]

    def count(self, holder: str) -> int:
        """Return how many connections of a holder idle."""
        return len(self._of_holder.get(holder, ()))

    def longest(self, holder: str | None = None) -> ConnectionT | None:
        """Return the connection of this holder, or of the one with the most, that idles longest."""
        if holder is None:
            holder = max(self._of_holder, key=self.count, default=None)
        return next(iter(self._of_holder.get(holder or "", ())), None)


def name_of_address(host: str) -> str:
    """Return the name under which an address is counted; all of an IPv6 /64 have the same."""
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            return f"{ADDRESS}{host}"
        if address.ipv4_mapped is None:
            network = ipaddress.IPv6Network((address, _IPV6_PREFIX), strict=False)
            return f"{ADDRESS}{network}"
        host = str(address.ipv4_mapped)
    return f"{ADDRESS}{host}"
