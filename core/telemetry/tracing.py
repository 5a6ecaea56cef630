"""Traces: W3C trace context in headers, spans by OpenTelemetry where an endpoint is set.

Without an endpoint nothing is recorded and nothing leaves the process, but `traceparent` is still
carried along, so that the services around us keep their traces.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.settings import TelemetrySettings

MOST_LINKS = 128  # OpenTelemetry's own default limit
_HEADER = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()


def valid(traceparent: str | None) -> str | None:
    """Return a header's trace context, written as version 00; None if it is absent or not valid."""
    written: dict[str, str] = {}
    _PROPAGATOR.inject(written, _context(traceparent))
    return written.get(_HEADER)


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

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"photo-archive-{process}"})
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextmanager
def consuming(name: str, parents: Iterable[str | None]) -> Iterator[None]:
    """Open a span over a batch, in the trace of its first record and linked to all the others.

    It costs nothing where nothing is recorded.

    Args:
        name: what is done, e.g. `tagging prepare`.
        parents: `traceparent` of each record, None where it has none.
    """
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    contexts = [context for parent in parents if (context := _context(parent))]
    links = [Link(trace.get_current_span(one).get_span_context()) for one in contexts[:MOST_LINKS]]
    with trace.get_tracer(__name__).start_as_current_span(
        name, context=contexts[0] if contexts else None, kind=SpanKind.CONSUMER, links=links
    ):
        yield


def _context(traceparent: str | None) -> Context:
    """Return the context of a header; an empty one if it is absent or not valid."""
    return _PROPAGATOR.extract({_HEADER: traceparent} if traceparent else {}, Context())
