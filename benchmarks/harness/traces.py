"""Traces of a running archive: a collector of spans, what they cover, and a picture of them."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HOST = "127.0.0.1"
WIDTH, LABEL, ROW, PAD = 920, 300, 26, 10
#: Colours by process; what is waited for is pale.
COLOURS = {"ingress": "#4c6ef5", "tagging": "#2b8a3e", "query": "#e67700", "delivery": "#c2255c"}
PALE = 0.35


@dataclass(frozen=True, slots=True)
class SeenSpan:
    """A span as the collector was told of it; times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    process: str
    name: str
    from_ns: int
    to_ns: int
    attributes: dict[str, Any]


class SpanCollector:
    """Takes spans by OTLP over HTTP for as long as its block runs."""

    def __init__(self) -> None:
        self.spans: list[SeenSpan] = []
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Return what `TELEMETRY_OTLP_ENDPOINT` is to be."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def of(self, trace_id: str) -> list[SeenSpan]:
        """Return the spans of a trace so far, in the order of their begin."""
        found = [span for span in list(self.spans) if span.trace_id == trace_id]
        return sorted(found, key=lambda span: (span.from_ns, -span.to_ns))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                spans.extend(_read(self.rfile.read(length)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Log nothing."""

        return Handler


def _read(body: bytes) -> Iterable[SeenSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        told = {one.key: one.value.string_value for one in resource.resource.attributes}
        process = told.get("service.name", "").removeprefix("photo-archive-")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    process,
                    span.name,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {
                        one.key: getattr(one.value, one.value.WhichOneof("value"))
                        for one in span.attributes
                    },
                )


def covered(spans: Sequence[SeenSpan], from_ns: int, to_ns: int) -> float:
    """Return the share of a time during which at least one span was open, 0 to 1."""
    open_ns, reached = 0, from_ns
    for span in sorted(spans, key=lambda one: one.from_ns):
        begin, end = max(span.from_ns, reached), min(span.to_ns, to_ns)
        if end > begin:
            open_ns += end - begin
            reached = end
    return open_ns / (to_ns - from_ns)


def picture(title: str, spans: Sequence[SeenSpan], from_ns: int, to_ns: int) -> str:
    """Return the spans of a trace as an SVG: a row each, what was waited for in pale."""
    scale = (WIDTH - LABEL - 4 * PAD) / (to_ns - from_ns)
    height = PAD * 2 + ROW * (len(spans) + 2)
    rows = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{PAD}" y="{PAD + 14}" font-weight="bold">{escape(title)}</text>',
    ]
    for number, span in enumerate(spans, 1):
        y = PAD + ROW * number
        x = LABEL + (span.from_ns - from_ns) * scale
        width = max(1.0, (span.to_ns - span.from_ns) * scale)
        pale = min(width, span.attributes.get("wait_ms", 0.0) * 1e6 * scale)
        colour = COLOURS.get(span.process, "#495057")
        is_named = span.name.startswith(span.process)
        label = span.name if is_named else f"{span.process}: {span.name}"
        place = f'y="{y + 4}" height="{ROW - 8}" rx="2" fill="{colour}"'
        done = max(0.5, width - pale)
        rows += [
            f'<text x="{PAD}" y="{y + 16}">{escape(label)}</text>',
            f'<rect x="{x:.1f}" width="{width:.1f}" {place} fill-opacity="{PALE}"/>',
            f'<rect x="{x + pale:.1f}" width="{done:.1f}" {place}/>',
        ]
    base = PAD + ROW * (len(spans) + 1)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LABEL + share * (to_ns - from_ns) * scale
        label = f"{share * (to_ns - from_ns) / 1e6:.0f} ms"
        rows.append(f'<text x="{x:.1f}" y="{base + 14}" text-anchor="middle">{label}</text>')
    return "\n".join([*rows, "</svg>", ""])
