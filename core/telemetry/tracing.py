"""Traces: W3C trace context in headers, spans by OpenTelemetry where an endpoint is set.

Without an endpoint nothing is recorded and nothing leaves the process, but `traceparent` is still
carried along, so that the services around us keep their traces.

A batch is worked on as a whole, so its records get their spans when it is done: each its own, in
its own trace, from when the record was made until its effects were committed (`passed`).
"""

import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.settings import TelemetrySettings

SERVER_ERROR = 500
_HEADER = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()

Attributes = Mapping[str, str | int | float | bool]


def valid(traceparent: str | None) -> str | None:
    """Return a header's trace context, written as version 00; None if it is absent or not valid."""
    return _written(_context(traceparent))


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace's id for log lines, as it stands in the header; None where there is none."""
    if traceparent is None:
        return None
    parts = traceparent.split("-", 2)
    return parts[1][:32] if len(parts) == 3 else None  # version, trace, the rest


def configure(settings: TelemetrySettings, *, process: str) -> None:
    """Send spans to `TELEMETRY_OTLP_ENDPOINT`, if it is set. Call once per process."""
    endpoint = settings.otlp_endpoint.get_secret_value()
    if not endpoint:
        return
    # Imported here: the exporter and its HTTP client are loaded only where they are used.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = {"service.name": f"photo-archive-{process}", "host.name": socket.gethostname()}
    provider = TracerProvider(resource=Resource.create(resource))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def is_recording() -> bool:
    """Return whether spans are recorded in this process."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """An HTTP request that is being served.

    Attributes:
        traceparent: what its events carry: the caller's trace, or a new one.
    """

    traceparent: str
    _span: Span | None = None

    def end(self, name: str, status: int, attributes: Attributes) -> None:
        """End the request's span, if it has one."""
        if self._span is None:
            return
        self._span.update_name(name)
        self._span.set_attributes({**attributes, "http.response.status_code": status})
        if status >= SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def serve(traceparent: str | None, *, is_quiet: bool = False) -> ServedRequest:
    """Begin to serve a request, in its caller's trace or a new one.

    Args:
        traceparent: the caller's header.
        is_quiet: no span, for what is asked every few seconds.
    """
    if is_recording() and not is_quiet:
        span = trace.get_tracer(__name__).start_span(
            "request", context=_context(traceparent), kind=SpanKind.SERVER
        )
        if written := _written(trace.set_span_in_context(span, Context())):
            return ServedRequest(written, span)
    fresh = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return ServedRequest(valid(traceparent) or fresh)


def passed(
    name: str, parent: str | None, *, from_ns: int, to_ns: int, attributes: Attributes
) -> None:
    """Record a span that has ended already, as a child of a record's trace context.

    Args:
        name: what was done, e.g. `tagging`.
        parent: the record's `traceparent`; None: a trace of its own.
        from_ns: since 1970, as `to_ns`.
        to_ns: not before `from_ns`.
        attributes: what else is known.
    """
    trace.get_tracer(__name__).start_span(
        name,
        context=_context(parent),
        kind=SpanKind.CONSUMER,
        start_time=from_ns,
        attributes=dict(attributes),
    ).end(max(from_ns, to_ns))


def doing(
    name: str,
    parent: str | None,
    *,
    since_ns: int | None = None,
    attributes: Attributes | None = None,
) -> AbstractContextManager[str | None]:
    """Open a span; the block is given the trace context that what it causes carries.

    Without recording that is the parent's own.

    Args:
        name: what is done.
        parent: `traceparent` of what caused it; None: a trace of its own.
        since_ns: when it began, where that was before; in nanoseconds since 1970.
        attributes: what else is known.
    """
    return _opened(name, parent, SpanKind.INTERNAL, since_ns, attributes or {})


def asking(
    name: str, parent: str | None, attributes: Attributes
) -> AbstractContextManager[str | None]:
    """Open a span as `doing` does, for a request to another service."""
    return _opened(name, parent, SpanKind.CLIENT, None, attributes)


@contextmanager
def _opened(
    name: str,
    parent: str | None,
    kind: SpanKind,
    since_ns: int | None,
    attributes: Attributes,
) -> Iterator[str | None]:
    if not is_recording():
        yield valid(parent)
        return
    with trace.get_tracer(__name__).start_as_current_span(
        name,
        context=_context(parent),
        kind=kind,
        start_time=since_ns,
        attributes=dict(attributes),
        record_exception=False,
    ) as span:
        yield _written(trace.set_span_in_context(span, Context()))


def note(attributes: Attributes) -> None:
    """Add to the span that is open here; nothing where none is."""
    trace.get_current_span().set_attributes(dict(attributes))


def _context(traceparent: str | None) -> Context:
    """Return the context of a header; an empty one if it is absent or not valid."""
    return _PROPAGATOR.extract({_HEADER: traceparent} if traceparent else {}, Context())


def _written(context: Context) -> str | None:
    written: dict[str, str] = {}
    _PROPAGATOR.inject(written, context)
    return written.get(_HEADER)
