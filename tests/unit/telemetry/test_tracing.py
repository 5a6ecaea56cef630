"""Trace context: parsed as W3C says, carried along, nothing recorded without an endpoint."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.telemetry.tracing import consuming, current, parse

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_valid_header_is_read_and_written_back_as_it_was() -> None:
    parent = parse(GOOD)

    assert parent is not None
    assert (parent.trace_id[:4], parent.span_id[:4], parent.is_sampled) == ("4bf9", "00f0", True)
    assert str(parent) == GOOD


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
    assert parse(text) is None


def test_a_later_version_may_have_more_fields() -> None:
    parent = parse("01" + GOOD[2:] + "-what-may-come")

    assert parent is not None
    assert str(parent) == GOOD


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    parse(text)


def test_without_an_endpoint_there_is_no_span() -> None:
    with consuming("anything", [GOOD, None, "nonsense"]):
        assert current() is None


def test_with_an_endpoint_a_batch_has_a_span_in_its_records_trace() -> None:
    """In a process of its own: OpenTelemetry's provider is set once and for all."""
    program = f"""
from core.settings import TelemetrySettings
from core.telemetry.tracing import configure, consuming, current, parse
configure(TelemetrySettings(otlp_endpoint="http://127.0.0.1:9"), process="t")
with consuming("t prepare", [None, {GOOD!r}]):
    inside = parse(current())
import os
assert inside is not None and inside.trace_id == parse({GOOD!r}).trace_id, inside
assert inside.span_id != parse({GOOD!r}).span_id
os._exit(0)  # nobody listens at the endpoint: do not wait for the last export
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == 0
