"""Trace context: parsed as W3C says, carried along, nothing recorded without an endpoint."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from core.telemetry.tracing import asking, doing, passed, serve, trace_id, valid

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_valid_header_stays_as_it_was() -> None:
    assert valid(GOOD) == GOOD
    assert valid(f" {GOOD} ") == GOOD


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        GOOD + "-more",
        GOOD.upper(),
        GOOD[:-1],
    ],
)
def test_anything_else_is_no_context(text: str | None) -> None:
    assert valid(text) is None


def test_a_later_version_may_have_more_fields() -> None:
    assert valid("01" + GOOD[2:] + "-what-may-come") == GOOD


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    valid(text)


def test_without_an_endpoint_there_is_no_span_and_the_context_is_passed_on() -> None:
    with doing("anything", GOOD) as carried:
        assert not trace.get_current_span().get_span_context().is_valid
        assert carried == GOOD
    with asking("anything", "nonsense", {}) as carried:
        assert carried is None
    assert serve(GOOD).traceparent == GOOD
    assert valid(serve("nonsense").traceparent)
    passed("anything", GOOD, from_ns=1, to_ns=2, attributes={})


def test_the_id_for_log_lines_is_the_traces() -> None:
    assert trace_id(GOOD) == GOOD[3:35]
    assert trace_id(None) is None
    assert trace_id("nonsense") is None


def test_with_an_endpoint_spans_are_children_of_what_they_are_given() -> None:
    """This runs in a process of its own, since OpenTelemetry's provider can be set only once."""
    program = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from core.settings import TelemetrySettings
from core.telemetry import tracing
tracing.configure(TelemetrySettings(otlp_endpoint="http://127.0.0.1:9"), process="t")
seen = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(seen))
request = tracing.serve({GOOD!r})
assert request.traceparent[:35] == {GOOD[:35]!r} and request.traceparent != {GOOD!r}
request.end("POST /x", 202, {{"a": 1}})
tracing.passed("record", request.traceparent, from_ns=10**18, to_ns=2 * 10**18, attributes={{}})
with tracing.doing("deliver", request.traceparent, since_ns=10**18) as outer:
    with tracing.asking("POST", outer, {{}}) as carried:
        tracing.note({{"http.response.status_code": 200}})
served, record, post, deliver = seen.get_finished_spans()
hexes = lambda span: f"{{span.context.trace_id:032x}}-{{span.context.span_id:016x}}"
for span in (served, record, post, deliver):
    assert hexes(span)[:32] == {GOOD[3:35]!r}, span
assert f"{{served.parent.span_id:016x}}" == {GOOD[36:52]!r}
assert (served.name, served.attributes["http.response.status_code"]) == ("POST /x", 202)
assert record.parent.span_id == deliver.parent.span_id == served.context.span_id
assert (record.start_time, record.end_time) == (10**18, 2 * 10**18)
assert deliver.start_time == 10**18
assert post.parent.span_id == deliver.context.span_id
assert post.attributes["http.response.status_code"] == 200
assert carried[3:52] == hexes(post)
assert tracing.serve(None, is_quiet=True)._span is None
unsampled = {GOOD[:-2]!r} + "00"
request = tracing.serve(unsampled)
request.end("GET /y", 500, {{}})
assert len(seen.get_finished_spans()) == 4 and request.traceparent.endswith("-00")
import os
os._exit(0)  # nobody listens at the endpoint: do not wait for the last export
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == 0
