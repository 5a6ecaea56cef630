"""The error tree. Everything that the project raises on purpose is one of these.

    PhotoTaggerError
      TransientError        try the same again: nothing is wrong with the input
        BrokerAway            Kafka cannot be reached or does not answer in time
        DatabaseAway          PostgreSQL cannot be reached or does not answer in time
        BlobStoreAway         the place of the bytes cannot be reached
        GpuOutOfMemory        the accelerator has no room for this batch
        TargetUnreachable     no HTTP answer: name, connection, TLS or time
      PermanentError        will not get better; carries a stable `reason`
        UndecodableEvent      a record that is not an event of its topic
        ImageUnreadable       bytes that are no image we accept
        ImageMissing          a URI that leads to no bytes
        QueryInvalid          a query that cannot be answered as it stands
        TargetForbidden       an address that the guard refuses
        ProcessCrashed        a record whose handling ended the process, again and again
        RecordRefused         a record whose effects PostgreSQL refuses
        RecordBroke           a record whose handling raised what nobody foresaw
      ConfigurationError    stop at start with exit code 2; says which variable

A `reason` is short and stable: the dead letter's header, the metric's label, the log's field.
"""

from collections.abc import Mapping
from typing import ClassVar


class PhotoTaggerError(Exception):
    """Base of all errors that the project raises on purpose."""


class TransientError(PhotoTaggerError):
    """Nothing is wrong with the input; it may be tried again later."""


class BrokerAway(TransientError):
    """Kafka cannot be reached or does not answer in time."""


class DatabaseAway(TransientError):
    """PostgreSQL cannot be reached or does not answer in time."""


class DatabaseReadOnly(DatabaseAway):
    """PostgreSQL answers, but takes no writes: a standby, or closed by an operator."""


class BlobStoreAway(TransientError):
    """The store of the bytes cannot be reached."""


class GpuOutOfMemory(TransientError):
    """The accelerator has no room for this batch, at any size tried."""


class TargetUnreachable(TransientError):
    """An HTTP exchange that ended without an answer.

    Args:
        message: what happened, with the target's host.
        kind: stable kind of the failure: dns, refused, reset, unreachable, timeout, tls, protocol.
        infra: True if our own side failed (resolver, egress proxy) and not the target.

    Attributes:
        times_ms: how long it took to resolve, connect and so on, as far as it came.
        on_kept: a connection kept from an earlier request was closed without an answer: by a target
            that tidies up or begins anew, or by one that has read this request.
    """

    def __init__(self, message: str, *, kind: str, infra: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.infra = infra
        self.times_ms: Mapping[str, int] = {}
        self.on_kept = False


class PermanentError(PhotoTaggerError):
    """The input is wrong, so trying again does not help.

    Args:
        message: what is wrong, with the value and the limit broken.
        reason: stable machine-readable cause; the class default where omitted.
    """

    default_reason: ClassVar[str] = "permanent"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class UndecodableEvent(PermanentError):
    """A record that is not an event of its topic."""

    default_reason = "undecodable_event"


class ImageUnreadable(PermanentError):
    """Bytes that are no image we accept: broken, too large, of another format."""

    default_reason = "image_unreadable"


class ImageMissing(PermanentError):
    """A URI that leads to no bytes."""

    default_reason = "image_missing"


class QueryInvalid(PermanentError):
    """A query that cannot be answered as it stands."""

    default_reason = "query_invalid"


class TargetForbidden(PermanentError):
    """An address, port or scheme that the egress guard refuses."""

    default_reason = "target_forbidden"


class ProcessCrashed(PermanentError):
    """A record whose handling ended the process, again and again."""

    default_reason = "process_crashed"


class RecordRefused(PermanentError):
    """A record whose effects PostgreSQL refuses (a NUL in a text, a value out of range)."""

    default_reason = "database_refused"


class RecordBroke(PermanentError):
    """A record whose decoding or preparing raised an error that nobody foresaw: a bug of ours.

    Args:
        error: what was raised; its class and its message are the detail.
        during: what was done with the record.
    """

    default_reason = "unexpected_error"

    def __init__(self, error: Exception, *, during: str) -> None:
        super().__init__(f"{type(error).__name__} while it was {during}: {error}"[:1000])


class ConfigurationError(PhotoTaggerError):
    """A setting is invalid. It ends the process at start with exit code 2."""


def innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a task group's group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
