"""Where a backup stands in Kafka's log, and which webhooks lie ahead of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from consumers.query.answering import outgoing
from consumers.upkeep.requested import requested
from core.offsets import Identity, Standing
from photo_archive.backing.log import Log
from schemas.callback import AnswerType, CallbackRequested, callback_id_of
from schemas.record import Partition, Record
from schemas.topics import CALLBACKS_REQUESTED, IMAGES_ARRIVED

PLACE = Partition(IMAGES_ARRIVED.name, 0)
KAFKA = Log("here", {IMAGES_ARRIVED.name: "topic"}, {PLACE: (5, 9)})


def standing(offset: int, cluster: str = "here", topic: str = "topic") -> Standing:
    return Standing(offset, Identity(cluster, topic))


@pytest.mark.parametrize("offset", [5, 7, 9])
def test_a_group_goes_on_where_the_log_has_its_next_offset(offset: int) -> None:
    stands = {("tagging", PLACE): standing(offset)}

    assert KAFKA.unlike(stands, "here") == []
    assert KAFKA.ahead(stands) == {PLACE: (offset, 9)}


def test_a_group_that_never_claimed_begins_at_the_logs_start() -> None:
    assert KAFKA.unlike({}, "here") == KAFKA.unlike({}, "") == []
    assert KAFKA.ahead({}) == {PLACE: (5, 9)}


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (standing(4), "the log begins at 5, and the backup goes on at 4: 1 records are gone"),
        (standing(10), "the log ends at 9, before 10 of the backup"),
        (standing(7, cluster="there"), "the backup stands in the log of the cluster there"),
        (standing(7, topic="older"), "the topic was made anew"),
    ],
)
def test_what_keeps_a_group_from_going_on_is_told_by_partition(stands: Standing, said: str) -> None:
    told = KAFKA.unlike({("tagging", PLACE): stands}, "here")

    assert told == [f"{IMAGES_ARRIVED.name}, partition 0: {said}"]


def test_another_cluster_is_told_once_whatever_stands_in_it() -> None:
    told = KAFKA.unlike({("tagging", PLACE): standing(7)}, "there")

    assert told == ["it is the cluster here, and the backup was made of there"]


async def test_of_the_requests_for_one_webhook_the_first_counts_and_junk_is_passed() -> None:
    answer = CallbackRequested(
        query_id=uuid4(),
        type=AnswerType.NO_MATCH,
        url="https://a.example/x",
        text="cat",
        answered_at=datetime.now(UTC),
    )

    async def found() -> AsyncIterator[Record]:
        yield Record(IMAGES_ARRIVED.name, None, (), b"{}")
        yield Record(CALLBACKS_REQUESTED.name, None, (), b"junk")
        yield outgoing(answer, owner="ann")
        yield outgoing(answer, owner=None)

    (webhooks,) = [portion async for portion in requested(found())]

    ((webhook, (target, event)),) = webhooks.items()
    assert webhook == callback_id_of(answer.query_id)
    assert (target, event.owner) == ("https://a.example:443", "ann")
