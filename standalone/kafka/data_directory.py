"""Kafka's data directory: its properties, its cluster id, and its creation."""

import base64
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from standalone.environment import inherited
from standalone.failures import DiskFull, NotSupported, ServerFailed
from standalone.files import write_private
from standalone.kafka.certificate import CERTIFICATE_FILE, KEY_FILE
from standalone.kafka.logins import Logins
from standalone.processes.child_process import guarded
from standalone.processes.embedded_server import NO_SPACE
from standalone.processes.tool import LONGEST_S, run_tool

PROPERTIES_FILE = "server.properties"

# All tried together (docs/research/embedded.md, section 1.7).
PROPERTIES = """\
process.roles=broker,controller
node.id={place.node_id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=CLIENTS://{host}:{place.port},CONTROLLER://{host}:{place.controller_port}
advertised.listeners=CLIENTS://{host}:{place.port}
inter.broker.listener.name=CLIENTS
# Nobody without a password: loopback is open to every user of this machine. Clients use SCRAM, by
# which both sides prove that they know it: whoever takes the port of a broker that is down learns
# nothing. KRaft has no SCRAM at the controller, where nobody connects but this process and the
# supervisor that started it, and with three the other controllers (certificate.py).
listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:{controllers}
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
sasl.mechanism.controller.protocol=PLAIN
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.clients.scram-sha-256.sasl.jaas.config={scram} username="{client.user}" \
  password="{client.password}";
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain} username="{controller.user}" \
  password="{controller.password}" user_{controller.user}="{controller.password}";
# Relative to the working directory: a comma in an absolute path would part it in two.
log.dirs=data
# Every broker has every record; all but one must have it before it counts.
offsets.topic.replication.factor={size}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={size}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor={size}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
min.insync.replicas={in_sync}
default.replication.factor={size}
# Topics are made by `photo-archive migrate` and by nothing else.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
{together}\
# Small: one machine, a few roles.
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
metadata.log.segment.bytes=8388608
metadata.max.retention.bytes=16777216
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
socket.request.max.bytes=33554432
"""

_ALONE = """\
# After a kill the old registration must expire first: 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
# With the times of one broker three formed no cluster in 150 s on two busy cores: each voter lost
# patience before the others had answered.
_TOGETHER = """\
broker.session.timeout.ms=9000
broker.heartbeat.interval.ms=1000
controller.quorum.election.timeout.ms=6000
controller.quorum.fetch.timeout.ms=8000
controller.quorum.request.timeout.ms=8000
"""
# Relative to the broker's folder, as `log.dirs`.
_TLS = f"""\
listener.name.controller.ssl.keystore.type=PEM
listener.name.controller.ssl.keystore.location=../{KEY_FILE}
listener.name.controller.ssl.truststore.type=PEM
listener.name.controller.ssl.truststore.location=../{CERTIFICATE_FILE}
"""
_SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_PLAIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """One broker's place in its cluster: its node id and its ports."""

    node_id: int
    port: int
    controller_port: int


def write_properties(
    folder: Path, host: str, places: Sequence[BrokerPlace], node_id: int, logins: Logins
) -> None:
    """Write the properties of one broker; the ports may differ from start to start.

    Args:
        folder: of the broker.
        places: of all brokers of the cluster, which are its voters.
        node_id: which of them it is.
    """
    text = PROPERTIES.format(
        host=host,
        place=places[node_id - 1],
        voters=",".join(f"{one.node_id}@{host}:{one.controller_port}" for one in places),
        size=len(places),
        in_sync=in_sync(len(places)),
        controllers="SASL_SSL" if len(places) > 1 else "SASL_PLAINTEXT",
        together=_TOGETHER + _TLS if len(places) > 1 else _ALONE,
        scram=_SCRAM_MODULE,
        plain=_PLAIN_MODULE,
        client=logins.client,
        controller=logins.controller,
    )
    write_private(folder / PROPERTIES_FILE, text)


def in_sync(brokers: int) -> int:
    """Return how many of the brokers must have a record before it is acknowledged."""
    return max(1, brokers - 1)


def is_formatted(folder: Path) -> bool:
    """Return whether the data directory was created."""
    return (folder / "data" / "meta.properties").exists()


def load_cluster_id(folder: Path, members: Sequence[Path]) -> str:
    """Return the cluster's id; the first start makes it.

    Args:
        folder: where it is kept.
        members: the folders of the cluster's brokers.

    Raises:
        NotSupported: there is data, but its id is gone.
    """
    path = folder / "cluster_id"
    if not path.exists():
        if any(map(is_formatted, members)):
            raise NotSupported(f"{path} is gone: without it this data is not known to be ours")
        partial = path.with_name("cluster_id.new")
        partial.write_text(new_cluster_id())
        partial.rename(path)
    return path.read_text().strip()


def new_cluster_id() -> str:
    """Return a random UUID as Kafka writes it: 22 characters, the first of which is no dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
        if not text.startswith("-"):
            return text


def empty_scratch(folder: Path) -> None:
    """Make an empty folder `tmp`: a kill leaves native libraries in it."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir()


def format_data(
    folder: Path, java: tuple[str, ...], cluster_id: str, *, longest_s: float = LONGEST_S
) -> None:
    """Create the data directory, or finish one whose creation was interrupted.

    Raises:
        DiskFull: the disk is full.
        ServerFailed: the tool failed or took too long; the message has its output.
    """
    if is_formatted(folder):
        return
    tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}")
    done = run_tool(
        "Kafka's StorageTool",
        guarded([*java, *tool, f"--config={PROPERTIES_FILE}", "--ignore-formatted"]),
        directory=folder,
        environment=inherited(),
        longest_s=longest_s,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if NO_SPACE in said:
            raise DiskFull(f"no space left for Kafka's data in {folder}")
        raise ServerFailed(
            f"Kafka's StorageTool ended with exit code {done.returncode}:\n{said[-2000:]}"
        )
