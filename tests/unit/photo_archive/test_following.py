"""Following a run's images until they are settled."""

from collections.abc import Mapping
from uuid import UUID

from core.errors import DatabaseAway
from photo_archive.following import Follower, JobStanding

JOB = UUID(int=1)


class ScriptedArchive:
    """Returns scripted counts in order, the last one repeatedly; sleeping advances the time."""

    def __init__(self, *script: Mapping[str, int] | None) -> None:
        self.script = list(script)
        self.now_s = 0.0

    async def counts(self, job_id: UUID) -> Mapping[str, int]:
        counts = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if counts is None:
            raise DatabaseAway("away")
        return counts

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.now_s > 1000:
            raise AssertionError("followed for ever")


async def follow(
    archive: ScriptedArchive, expected: int | None
) -> tuple[JobStanding, list[JobStanding], int]:
    shown: list[JobStanding] = []
    stalls: list[float] = []
    follower = Follower(archive.counts, archive.sleep, lambda: archive.now_s, poll_s=1, stall_s=30)
    last = await follower.follow(
        JOB, lambda: expected, shown.append, lambda: stalls.append(archive.now_s)
    )
    return last, shown, len(stalls)


async def test_it_ends_when_every_image_is_tagged_or_failed() -> None:
    archive = ScriptedArchive({}, {"tagged": 1}, {"tagged": 2, "failed": 1, "accepted": 1},
                              {"tagged": 3, "failed": 1})  # fmt: skip

    last, shown, stalls = await follow(archive, 4)

    assert last == JobStanding(tagged=3, failed=1)
    assert [standing.finished for standing in shown] == [0, 1, 3, 4]
    assert stalls == 0


async def test_an_outage_is_shown_and_survived() -> None:
    last, shown, _ = await follow(ScriptedArchive(None, {"tagged": 1}), 1)

    assert [standing.is_known for standing in shown] == [False, True]
    assert last.tagged == 1


async def test_a_run_without_progress_is_told_once() -> None:
    waiting = [{"tagged": 1}] * 100

    _, _, stalls = await follow(ScriptedArchive(*waiting, {"tagged": 2}), 2)

    assert stalls == 1


async def test_an_empty_run_ends_at_once() -> None:
    last, shown, _ = await follow(ScriptedArchive({}), 0)

    assert (last.finished, len(shown)) == (0, 1)
