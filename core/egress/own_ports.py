"""The ports on which this archive itself listens on this machine: nobody's callback goes there.

On one person's machine callbacks to the same machine are allowed, and the broker, the database, the
HTTP face and the pages of metrics listen there too. They would take a POST for what it is not, and
its outcome would tell a stranger what runs here.
"""

import socket
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from core.addresses import each_host
from core.egress.addresses import IPAddress, parse_address
from core.settings import (
    DatabaseSettings,
    IngressSettings,
    KafkaSettings,
    StandaloneSettings,
    TelemetrySettings,
)

POSTGRES_PORT = 5432
#: The supervisor gives its consumers ports for metrics upwards from one: 16 tagging processes and
#: the others fit into as many. Its Kafka has the port above its own for the controller.
STANDALONE_METRICS = 32


def own_ports(
    ingress: IngressSettings,
    kafka: KafkaSettings,
    database: DatabaseSettings,
    telemetry: TelemetrySettings,
    standalone: StandaloneSettings,
) -> frozenset[int]:
    """Return the ports of the archive's own servers, wherever these run."""
    brokers = {_port(f"//{one.strip()}") for one in kafka.bootstrap_servers.split(",")}
    ports = {ingress.port, telemetry.metrics_port, *brokers}
    for url in (database.url, database.pooler_url):
        for one in each_host(url.get_secret_value()) if url.get_secret_value() else ():
            ports.add(_port(one) or POSTGRES_PORT)
    if "home" in standalone.model_fields_set:  # the supervisor tells its processes where it lives
        ports.update(port + 1 for port in brokers)
        ports.update(range(standalone.metrics_port, standalone.metrics_port + STANDALONE_METRICS))
    return frozenset(ports - {0})


def inbox_prefix(ingress: IngressSettings, standalone: StandaloneSettings) -> str:
    """Return what addresses of the receiver in the box begin with; empty where there is none.

    There is one in the standalone mode alone, whose HTTP face listens on loopback: the supervisor
    tells its processes where it lives.
    """
    try:
        address = parse_address(ingress.host)
    except ValueError:  # a name: whose address it is would be found out anew each time
        return ""
    if "home" not in standalone.model_fields_set or not address.is_loopback:
        return ""
    scheme = "https" if ingress.ssl_certfile else "http"
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{scheme}://{host}:{ingress.port}/inbox/"


def is_here(address: IPAddress) -> bool:
    """Return whether an address is one of this machine: whether a socket can be bound to it."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _port(address: str) -> int:
    try:
        return urlsplit(address).port or 0
    except ValueError:  # whoever connects there says what is wrong with it
        return 0
