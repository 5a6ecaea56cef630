"""What a load has led to in the end: nothing is lost, and nothing has happened twice."""

from collections import Counter
from dataclasses import dataclass, field

from schemas.topics import IMAGES_ARRIVED, IMAGES_TAGGED
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.faults.harness.load import (
    assert_progress_is_at_the_end,
    callbacks_until,
    duplicates,
    told_about,
    told_about_all,
)
from tests.faults.harness.persistence import Uploaded
from tests.measured import Measured

CATCH_UP_S = 600.0


@dataclass(slots=True)
class Accepted:
    """The requests that were accepted.

    Attributes:
        answers: number of answers per status, see `Uploaded`.
        unanswered: per image, how often it may have been stored without the client's knowing.
    """

    images: set[str] = field(default_factory=set)
    queries: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)

    def add(self, done: Uploaded) -> None:
        """Add a round of uploads."""
        self.answers += done.answers
        for number, (image_id,) in done.ids.items():
            self.images.add(image_id)
            self.unanswered[image_id] += done.unanswered[number]


def assert_once_each(
    archive: RunningArchive, receiver: CallbackReceiver, accepted: Accepted, measured: Measured
) -> int:
    """Check every request that was accepted: its effects and answers are there, once each.

    Returns:
        How many webhooks were on the wire twice, which only a death in delivery explains.
    """
    came = callbacks_until(receiver, len(accepted.queries), CATCH_UP_S, quiet_s=10)
    images = sorted(accepted.images)
    arrived = told_about(archive, images, IMAGES_ARRIVED)
    told = told_about_all(archive, images, IMAGES_TAGGED)
    again = sum(len(events) - 1 for events in arrived.ids.values())
    measured(
        f"{told.duplicates} events and {duplicates(came)} webhooks twice on the wire;"
        f" {again} uploads repeated by a client that had no answer to the first"
    )
    assert not [one for one in images if len(arrived.ids[one]) > 1 + accepted.unanswered[one]], (
        "an upload was announced again that nobody repeated"
    )
    writes = effects(archive, "tagged_images")
    assert writes.keys() >= set(images)
    assert not [one for one in images if writes[one] > arrived.records[one]], (
        "an arrival took effect twice"
    )
    for what in ("queries", "deliveries"):
        assert effects(archive, what) == Counter(accepted.queries), f"{what}: not once each"
    assert not effects(archive, "undone"), "a delivery that was made was due again"
    assert set(came) == set(accepted.queries)
    assert {len(counts) for counts in came.values()} == {1}, "an answer had two webhook ids"
    assert archive.value("SELECT count(*) FROM dead_letters") == 0
    open_still = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM deliveries WHERE"
    open_still += " state <> 'delivered')"
    archive.wait_for(lambda: not archive.value(open_still), 120, "something is never finished")
    for group in ("tagging", "query"):
        assert_progress_is_at_the_end(archive, group)
    return duplicates(came)


def effects(archive: RunningArchive, what: str) -> Counter[str]:
    """Return how often each image or query was written, counted by triggers, see `AUDIT`."""
    rows = archive.sql("SELECT id, count(*) AS n FROM written WHERE what = $1 GROUP BY id", what)
    return Counter({row["id"]: int(row["n"]) for row in rows})
