"""Publishing with retries."""

from core.errors import BrokerAway, PermanentError
from core.offsets import Place
from producers.publishing import Patience, publish_all
from schemas.record import Record
from tests.fakes.publisher import MemoryPublisher


class FakeTime:
    """A clock that sleeping advances."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def record(number: int, size: int = 1) -> Record:
    return Record("t", b"%d" % number, (), b"x" * size)


def patience(time: FakeTime, limit_s: float = 60) -> Patience:
    return Patience(limit_s, 1, 4, now=time.now, sleep=time.sleep)


async def test_only_what_was_not_acknowledged_is_sent_again() -> None:
    kafka, time = MemoryPublisher(), FakeTime()
    kafka.lose_acknowledgements = 1

    outcomes = await publish_all(kafka, [record(1), record(2)], patience(time))

    assert [type(outcome) for outcome in outcomes] == [Place, Place]
    assert kafka.records == [record(1), record(2), record(1)]
    assert time.slept == [1]


async def test_pauses_double_up_to_the_longest_and_patience_ends() -> None:
    kafka, time = MemoryPublisher(), FakeTime()
    kafka.is_away = True

    [outcome] = await publish_all(kafka, [record(1)], patience(time, limit_s=12))

    assert isinstance(outcome, BrokerAway)
    assert time.slept == [1, 2, 4, 4, 4]


async def test_a_refused_record_is_told_and_not_sent_again() -> None:
    kafka, time = MemoryPublisher(), FakeTime()
    kafka.largest_value = 5

    outcomes = await publish_all(kafka, [record(1, 6), record(2)], patience(time))

    assert isinstance(outcomes[0], PermanentError)
    assert outcomes[0].reason == "kafka_refused"
    assert isinstance(outcomes[1], Place)
    assert kafka.calls == 1


async def test_nothing_to_publish_is_no_call_for_patience() -> None:
    assert await publish_all(MemoryPublisher(), [], Patience()) == []
