"""What is said to a broker that has just started: let our clients in; are you ours, and alive?

The password is set by a request to the controller and not when the data is created: so a folder
that was made before there were passwords is no special case, and a lost one is made anew.
Another broker may have taken the port first: SCRAM proves that it knows the password, and the
cluster id tells which data it works on.
"""

import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

from standalone.kafka.logins import Login, Logins
from standalone.kafka.wire import (
    PLAIN,
    SCRAM,
    WIRE_ERRORS,
    AnswerFields,
    Wire,
    connected,
    salt_password,
)

_METADATA, _METADATA_VERSION = 3, 4  # newest without tagged fields; 4.3 answers 0 to 13
_ALTER_SCRAM, _ALTER_SCRAM_VERSION = 51, 0
_DESCRIBE_QUORUM, _DESCRIBE_QUORUM_VERSION = 55, 0
_SCRAM_SHA_256 = 1
ITERATIONS = 4096  # the least that Kafka takes: the password is random, nobody can try them all


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster that answered: its id, and its brokers as `host:port`."""

    cluster_id: str
    brokers: tuple[str, ...]


def admit_clients(
    host: str,
    controller_port: int,
    logins: Logins,
    *,
    timeout_s: float,
    certificate: Path | None = None,
) -> bool:
    """Let the clients' login in; return whether the controller did so in time.

    Args:
        certificate: by which the controller proves that it is ours; None: it speaks no TLS.
    """
    try:
        with connected(host, controller_port, timeout_s=timeout_s, certificate=certificate) as wire:
            wire.log_in(PLAIN, logins.controller)
            if not _leads(wire):  # it would refuse, and write what it refused into its log
                return False
            answer = wire.ask(_ALTER_SCRAM, _ALTER_SCRAM_VERSION, encode_upsertion(logins.client))
            return decode_result(answer) == 0
    except WIRE_ERRORS:
        return False


def _leads(wire: Wire) -> bool:
    """Return whether this controller is the one that leads."""
    question = encode_quorum_question()
    return decode_leading(wire.ask(_DESCRIBE_QUORUM, _DESCRIBE_QUORUM_VERSION, question))


def encode_quorum_question() -> bytes:
    """Return the body of a request that only the leader of the metadata answers without error."""
    return b"".join(
        (
            b"\0",  # of the header: no tagged fields
            b"\2",  # one topic: lengths are one more than they say
            _compact(b"__cluster_metadata"),
            b"\2",  # one partition
            struct.pack(">i", 0),
            b"\0\0\0",  # no tagged fields, of the partition, the topic and the request
        )
    )


def decode_leading(answer: AnswerFields) -> bool:
    """Return whether the one that answers leads: the others have an error for the partition."""
    answer.number(">b")  # tagged fields of the header
    if answer.number(">h") or answer.number(">b") != 2:
        return False
    answer.compact_text()
    if answer.number(">b") != 2:
        return False
    answer.number(">i")
    return answer.number(">h") == 0


def ask(host: str, port: int, login: Login, *, timeout_s: float) -> Cluster | None:
    """Return the cluster behind this address, or None where none that knows us answers in time."""
    try:
        with connected(host, port, timeout_s=timeout_s) as wire:
            wire.log_in(SCRAM, login)
            # No topics, and none to be created: the brokers alone.
            return decode_cluster(wire.ask(_METADATA, _METADATA_VERSION, struct.pack(">ib", 0, 0)))
    except WIRE_ERRORS:
        return None


def encode_upsertion(login: Login) -> bytes:
    """Return the body of a request that gives one user a password; the password is not in it."""
    salt = secrets.token_bytes(16)
    salted = salt_password(login.password, salt, ITERATIONS)
    return b"".join(
        (
            b"\0",  # of the header: no tagged fields
            b"\1",  # an empty list of deletions: lengths are one more than they say
            b"\2",  # one upsertion
            _compact(login.user.encode()),
            struct.pack(">bi", _SCRAM_SHA_256, ITERATIONS),
            _compact(salt),
            _compact(salted),
            b"\0\0",  # no tagged fields, of the upsertion and of the request
        )
    )


def decode_result(answer: AnswerFields) -> int:
    """Return the error code of an answer about one user; 0: done."""
    answer.number(">b")  # tagged fields of the header
    answer.number(">i")  # throttle time
    if answer.number(">b") != 2:
        raise ValueError("this is not about one user")
    answer.compact_text()
    return answer.number(">h")


def decode_cluster(answer: AnswerFields) -> Cluster:
    """Return what an answer says.

    Raises:
        ValueError: it is incomplete.
    """
    answer.number(">i")  # throttle time
    brokers: list[str] = []
    for _ in range(answer.number(">i")):
        answer.number(">i")  # node id
        host = answer.text()
        brokers.append(f"{host}:{answer.number('>i')}")
        answer.text()  # rack
    return Cluster(answer.text(), tuple(brokers))


def _compact(content: bytes) -> bytes:
    return struct.pack(">B", len(content) + 1) + content
