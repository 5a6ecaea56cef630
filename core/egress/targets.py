"""The URLs that requests may go to: scheme, port, spelling of the host, the operator's lists.

Pure. `check_url` is called at submission, where it gives one clear message, and before each
request; `check_resolved` for each answer of the resolver.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult

from core.egress.addresses import IPAddress, IPNetwork, check_address, parse_networks
from core.egress.hosts import canonical_host
from core.egress.own_ports import is_here
from core.egress.urls import MAX_PORT, port_of, rebuild, split_url
from core.errors import ConfigurationError, TargetForbidden
from core.settings import EgressSettings

#: A token of the receiver in the box: 32 random bytes.
_INBOX_TOKEN = re.compile("[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Target:
    """A callback address: lower-case ASCII host, explicit port.

    Attributes:
        url: with that host and without fragment, else byte for byte as it came in.
        is_inbox: the archive's own receiver in the box.
    """

    scheme: str
    host: str
    port: int
    url: str
    address: IPAddress | None = None  # where the host is an address literal
    is_inbox: bool = False


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """The operator's rules. Allowed hosts and networks override the address table, nothing else.

    Attributes:
        inbox: what the addresses of the receiver in the box begin with, up to their token; empty:
            there is none. They pass all rules but `denied_networks`.
    """

    schemes: frozenset[str] = frozenset({"https"})
    ports: tuple[range, ...] = (range(443, 444), range(8443, 8444))
    allowed_hosts: frozenset[str] = frozenset()
    allowed_networks: tuple[IPNetwork, ...] = ()
    denied_networks: tuple[IPNetwork, ...] = ()  # wins over all, as the next one does
    own_ports: frozenset[int] = frozenset()  # the archive's own servers, at any address of ours
    inbox: str = ""

    @classmethod
    def from_settings(
        cls, settings: EgressSettings, own_ports: frozenset[int] = frozenset(), inbox: str = ""
    ) -> "TargetPolicy":
        """Return the policy that the settings describe.

        Raises:
            ConfigurationError: a list cannot be read; names the variable and the part.
        """
        hosts, networks = _parse_allowed(_split(settings.allowed_hosts))
        return cls(
            schemes=frozenset({"https", "http"} if settings.allow_http else {"https"}),
            ports=tuple(_parse_ports(part) for part in _split(settings.allowed_ports)),
            allowed_hosts=hosts,
            allowed_networks=networks,
            denied_networks=_parse_denied(_split(settings.denied_hosts)),
            own_ports=own_ports,
            inbox=inbox,
        )

    def check_url(self, url: str) -> Target:
        """Return the canonical target of a URL that the policy lets pass; looks nothing up.

        Raises:
            TargetForbidden: names the value and the one rule that it breaks.
        """
        parts = split_url(url)
        if self.is_inbox(url):
            return self._inbox_target(url, parts)
        self._check_scheme(parts.scheme)
        if parts.username is not None or parts.password is not None:
            raise TargetForbidden("the URL must not carry a user name or a password")
        host, address = canonical_host(parts.hostname or "")
        port = port_of(parts)
        self._check_port(port)
        if address is not None:
            self.check_resolved(host, (address,))
            self.check_own(host, address, port)
        return Target(parts.scheme, host, port, rebuild(url, parts, host, port), address)

    def check_resolved(self, host: str, addresses: Sequence[IPAddress]) -> None:
        """Raise where an address of a host is denied: one bad address blocks them all.

        Raises:
            TargetForbidden: names the host, the address and the rule.
        """
        for address in addresses:
            self.check_peer(host, address)

    def is_inbox(self, url: str) -> bool:
        """Return whether a URL is, letter by letter, an address of the receiver in the box.

        Nothing is read into it: another spelling of the host, a query, a fragment or a path that
        leads there are not that address.
        """
        start = len(self.inbox)
        return url[:start] == self.inbox != "" and bool(_INBOX_TOKEN.fullmatch(url, start))

    def check_connection(
        self, host: str, address: IPAddress, port: int, *, to_inbox: bool = False
    ) -> None:
        """Raise where a connection to an address must not be made.

        Args:
            to_inbox: it is for a request to an address of the receiver in the box.

        Raises:
            TargetForbidden: names the host, the address and the rule.
        """
        if to_inbox:
            self._check_denied(host, address)
            return
        self.check_peer(host, address)
        self.check_own(host, address, port)

    def check_own(self, host: str, address: IPAddress, port: int) -> None:
        """Raise where the archive itself listens. No list of the operator's allows it.

        The receiver in the box is known by its whole URL, before this is asked.

        Raises:
            TargetForbidden: names the host, the address and the port.
        """
        if port in self.own_ports and is_here(address):
            raise TargetForbidden(f"{host}: at {address}, port {port}, the archive itself listens")

    def check_peer(self, host: str, address: IPAddress) -> None:
        """Raise where an address that a connection to `host` is about to use is denied.

        Raises:
            TargetForbidden: names the host, the address and the rule.
        """
        self._check_denied(host, address)
        if host in self.allowed_hosts:
            return
        try:
            check_address(address, self.allowed_networks)
        except TargetForbidden as error:
            literal = str(address) == host.strip("[]")
            raise TargetForbidden(str(error) if literal else f"{host}: {error}") from error

    def _inbox_target(self, url: str, parts: SplitResult) -> Target:
        host, address = canonical_host(parts.hostname or "")
        if address is not None:
            self._check_denied(host, address)
        return Target(parts.scheme, host, port_of(parts), url, address, is_inbox=True)

    def _check_denied(self, host: str, address: IPAddress) -> None:
        if any(address in network for network in self.denied_networks):
            raise TargetForbidden(f"{host}: {address} is in a range that the operator denies")

    def _check_scheme(self, scheme: str) -> None:
        if scheme not in self.schemes:
            raise TargetForbidden(
                f"scheme {scheme or '(none)'!r} is not allowed; allowed: {_listed(self.schemes)}"
            )

    def _check_port(self, port: int) -> None:
        if not any(port in ports for ports in self.ports):
            raise TargetForbidden(
                f"port {port} is not allowed; allowed: {_listed(map(_port_text, self.ports))}"
            )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parse_ports(part: str) -> range:
    first, dash, last = part.partition("-")
    try:
        ports = range(int(first), int(last if dash else first) + 1)
    except ValueError as error:
        raise ConfigurationError(f"EGRESS_ALLOWED_PORTS: {part!r} is not a port") from error
    if not ports or ports[0] < 1 or ports[-1] > MAX_PORT:
        raise ConfigurationError(f"EGRESS_ALLOWED_PORTS: {part!r} is not within 1 to {MAX_PORT}")
    return ports


def _parse_allowed(parts: Sequence[str]) -> tuple[frozenset[str], tuple[IPNetwork, ...]]:
    hosts: set[str] = set()
    networks: list[IPNetwork] = []
    for part in parts:
        try:
            networks += parse_networks([part])
        except ValueError:
            hosts.add(_allowed_name(part))
    return frozenset(hosts), tuple(networks)


def _parse_denied(parts: Sequence[str]) -> tuple[IPNetwork, ...]:
    try:
        return parse_networks(parts)
    except ValueError as error:
        raise ConfigurationError(
            f"EGRESS_DENIED_HOSTS: {error}; names have to be denied by their addresses"
        ) from error


def _allowed_name(part: str) -> str:
    try:
        name, address = canonical_host(part)
    except TargetForbidden as error:
        raise ConfigurationError(f"EGRESS_ALLOWED_HOSTS: {error}") from error
    if address is not None:
        raise ConfigurationError(f"EGRESS_ALLOWED_HOSTS: {part!r} is not a host or a range")
    return name


def _port_text(ports: range) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"


def _listed(values: "Sequence[str] | frozenset[str] | map[str]") -> str:
    return ", ".join(sorted(values)) or "none"
