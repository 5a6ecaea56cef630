"""Trace context: parsed as W3C says, carried along, nothing recorded without an endpoint."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from core.telemetry.tracing import consuming, valid

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


def test_without_an_endpoint_there_is_no_span() -> None:
    with consuming("anything", [GOOD, None, "nonsense"]):
        assert not trace.get_current_span().get_span_context().is_valid


def test_with_an_endpoint_a_batch_has_a_span_in_its_records_trace() -> None:
    """This runs in a process of its own, since OpenTelemetry's provider can be set only once."""
    program = f"""
from opentelemetry import trace
from core.settings import TelemetrySettings
from core.telemetry.tracing import configure, consuming
configure(TelemetrySettings(otlp_endpoint="http://127.0.0.1:9"), process="t")
with consuming("t prepare", [None, "nonsense", {GOOD!r}]):
    span = trace.get_current_span()
inside = span.get_span_context()
import os
assert f"{{inside.trace_id:032x}}" == {GOOD[3:35]!r}, inside
assert f"{{inside.span_id:016x}}" != {GOOD[36:52]!r}
assert f"{{span.parent.span_id:016x}}" == {GOOD[36:52]!r}
assert len(span.links) == 1
os._exit(0)  # nobody listens at the endpoint: do not wait for the last export
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == 0
