"""Traces: W3C trace context in headers, spans by OpenTelemetry where an endpoint is set.

Without an endpoint nothing is recorded and nothing leaves the process, but `traceparent` is still
carried along, so that the services around us keep their traces.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from core.settings import TelemetrySettings

MOST_LINKS = 128  # OpenTelemetry's own default limit
_FORMAT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceParent(NamedTuple):
    """A parsed `traceparent` header.

    Attributes:
        trace_id: 32 hexadecimal digits, not all zero.
        span_id: 16 hexadecimal digits, not all zero.
    """

    trace_id: str
    span_id: str
    is_sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


def parse(text: str | None) -> TraceParent | None:
    """Return the trace context of a header, or None if it is absent or not valid.

    W3C Trace Context, section 3.2: versions after 00 may have more fields, ff is invalid.
    """
    match = _FORMAT.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more):
        return None
    if trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1))


def configure(settings: TelemetrySettings, *, process: str) -> None:
    """Send spans to `TELEMETRY_OTLP_ENDPOINT`, if it is set. Call once per process."""
    if not settings.otlp_endpoint:
        return
    # Imported here: the exporter and its HTTP client are loaded only where they are used.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"photo-archive-{process}"})
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextmanager
def consuming(name: str, parents: Iterable[str | None]) -> Iterator[None]:
    """A span over a batch, linked to the traces of its records. Costs nothing when not recorded.

    Args:
        name: what is done, e.g. `tagging prepare`.
        parents: `traceparent` of each record, None where it has none.
    """
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    contexts = [_context(parent) for parent in map(parse, parents) if parent is not None]
    links = [Link(context) for context in contexts[:MOST_LINKS]]
    parent = trace.set_span_in_context(NonRecordingSpan(contexts[0])) if contexts else None
    with trace.get_tracer(__name__).start_as_current_span(
        name, context=parent, kind=SpanKind.CONSUMER, links=links
    ):
        yield


def current() -> str | None:
    """`traceparent` of the span that we are in, to be sent along; None outside any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return str(
        TraceParent(
            f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled
        )
    )


def _context(parent: TraceParent) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags
    )
