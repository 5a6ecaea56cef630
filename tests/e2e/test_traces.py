"""One photo and one query are one trace each, from HTTP through Kafka to the webhook."""

import json
from pathlib import Path

import pytest

from benchmarks.harness.traces import SpanCollector, covered, picture
from tests.e2e.archive import RunningArchive
from tests.e2e.tracing import OF_A_QUERY, HearingReceiver, ask, upload
from tests.fakes.pictures import jpeg
from tests.measured import Measured


@pytest.fixture
def hearing(archive: RunningArchive, tmp_path: Path) -> HearingReceiver:
    return HearingReceiver(archive.access.signing_secret, tmp_path / "callbacks")


def told_of(archive: RunningArchive, process: str, trace_id: str) -> list[dict[str, object]]:
    """Return a process's log lines of a trace."""
    lines = archive.log(process, 2000).splitlines()
    return [json.loads(line) for line in lines if trace_id in line and line.startswith("{")]


def test_one_photo_is_one_trace(
    archive: RunningArchive, collector: SpanCollector, measured: Measured
) -> None:
    journey = upload(archive, collector, jpeg(4711, size=(320, 240)))

    request, *others = journey.spans
    assert request.name == "POST /images/upload"
    assert request.parent_id == journey.parent_id
    # Usually one: on a busy machine the sweeper may have sent the event a second time.
    assert {(span.name, span.parent_id) for span in others} == {
        ("tagging images.arrived.v1", request.span_id)
    }
    assert {"wait_ms", "prepare_ms", "commit_ms"} <= others[0].attributes.keys()
    events = [
        json.loads(one.value)
        for one in archive.topic("images.tagged.v1")
        if journey.trace_id in one.header("traceparent")
    ]
    assert events
    assert all(event["tags"] for event in events)
    measured(f"photo: {covered(journey.spans, journey.from_ns, journey.to_ns):.1%} covered")
    drawn = picture("photo", journey.spans, journey.from_ns, journey.to_ns)
    assert drawn.count("<rect") == 1 + 2 * len(journey.spans)


def test_one_query_is_one_trace_down_to_the_webhook(
    archive: RunningArchive, collector: SpanCollector, hearing: HearingReceiver, measured: Measured
) -> None:
    with hearing:
        journey = ask(archive, collector, hearing, "a cat on the beach")

    assert {span.name for span in journey.spans} == set(OF_A_QUERY)
    by_name = {span.name: span for span in journey.spans}
    request, post = by_name["POST /images/tags"], by_name["POST"]
    assert request.parent_id == journey.parent_id
    assert post.parent_id == by_name["deliver webhook"].span_id
    inner = ("deliver webhook", "delivery callbacks.requested.v1", "query queries.submitted.v1")
    assert {by_name[name].parent_id for name in inner} == {request.span_id}
    _, headers = hearing.heard[-1]
    assert headers["traceparent"] == f"00-{journey.trace_id}-{post.span_id}-01"
    measured(f"query: {covered(journey.spans, journey.from_ns, journey.to_ns):.1%} covered")


def test_log_lines_of_a_query_say_its_trace_query_and_host(
    archive: RunningArchive, collector: SpanCollector, hearing: HearingReceiver
) -> None:
    with hearing:
        journey = ask(archive, collector, hearing, "a dog")

    (answered,) = [
        line
        for line in told_of(archive, "query-0", journey.trace_id)
        if line["event"] == "query_answered"
    ]
    archive.wait_for(
        lambda: told_of(archive, "delivery-0", journey.trace_id), 30, "no line about the webhook"
    )
    sent = told_of(archive, "delivery-0", journey.trace_id)[0]
    assert answered["query_id"] == sent["query_id"]
    assert answered["host"] == sent["host"] == "127.0.0.1"
    assert (answered["topic"], sent["event"]) == ("queries.submitted.v1", "webhook_attempted")
    assert {"partition", "offset"} <= answered.keys()
