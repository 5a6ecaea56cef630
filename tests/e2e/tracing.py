"""One photo and one query through a running archive, with the traces that they leave."""

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.traces import SeenSpan, SpanCollector
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive

WITHIN_S = 120.0  # spans leave a process every five seconds
OF_A_PHOTO = ("POST /images/upload", "tagging images.arrived.v1")
OF_A_QUERY = (
    "POST /images/tags",
    "query queries.submitted.v1",
    "delivery callbacks.requested.v1",
    "deliver webhook",
    "POST",
)


@dataclass(frozen=True, slots=True)
class Journey:
    """What one photo or query went through.

    Attributes:
        parent_id: the span of the caller, of which the request's is a child.
        spans: of its trace, in the order of their begin.
        from_ns: when the request was sent.
        to_ns: when the photo was tagged, or the webhook had arrived.
    """

    trace_id: str
    parent_id: str
    spans: list[SeenSpan]
    from_ns: int
    to_ns: int


class HearingReceiver(CallbackReceiver):
    """A receiver that keeps the headers of what arrived, and when."""

    def __init__(self, secret: str, folder: Path) -> None:
        super().__init__(secret, folder)
        self.heard: list[tuple[int, dict[str, str]]] = []

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        """Keep the headers; then as every receiver."""
        self.heard.append((time.time_ns(), headers))
        return super().receive(headers, body)


def upload(archive: RunningArchive, collector: SpanCollector, photo: bytes) -> Journey:
    """Upload a photo in a trace of our own; wait for its tags and its spans."""
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"content-type": "image/jpeg", "traceparent": f"00-{trace_id}-{parent_id}-01"}
    from_ns = time.time_ns()
    response = archive.http.post("/images/upload", content=photo, headers=headers)
    assert response.status_code == 202, response.text
    image_id = response.json()["images"][0]["image_id"]
    to_ns = 0

    def is_tagged() -> bool:
        nonlocal to_ns
        if archive.http.get(f"/images/{image_id}").json()["status"] == "tagged":
            to_ns = to_ns or time.time_ns()
        return bool(to_ns)

    archive.wait_for(is_tagged, WITHIN_S, "not tagged")
    spans = spans_of(archive, collector, trace_id, OF_A_PHOTO)
    tagged = [span.to_ns for span in spans if span.name == OF_A_PHOTO[-1]]
    # We looked every 50 ms; its tags were there when its transaction had committed.
    return Journey(trace_id, parent_id, spans, from_ns, min(to_ns, max(tagged)))


def ask(
    archive: RunningArchive, collector: SpanCollector, receiver: HearingReceiver, text: str
) -> Journey:
    """Ask in a trace of our own; wait for the webhook and the spans."""
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    from_ns = time.time_ns()
    response = archive.http.post(
        "/images/tags",
        json={"text": text, "callback_url": receiver.url},
        headers={"traceparent": f"00-{trace_id}-{parent_id}-01"},
    )
    assert response.status_code == 202, response.text
    query_id = response.json()["query_id"]
    callback = receiver.take(WITHIN_S)
    assert callback is not None
    assert callback.body["data"]["query_id"] == query_id
    spans = spans_of(archive, collector, trace_id, OF_A_QUERY)
    return Journey(trace_id, parent_id, spans, from_ns, receiver.heard[-1][0])


def spans_of(
    archive: RunningArchive, collector: SpanCollector, trace_id: str, wanted: Collection[str]
) -> list[SeenSpan]:
    """Wait until these spans of a trace have come, from whichever process; return all of them."""

    def are_there() -> bool:
        return {span.name for span in collector.of(trace_id)} >= set(wanted)

    archive.wait_for(are_there, WITHIN_S, f"spans are missing of {wanted}")
    return collector.of(trace_id)
