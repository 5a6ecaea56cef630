"""A run over a directory: published, refused and skipped files, and outages."""

from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.errors import BlobStoreAway, ImageMissing
from producers.folders.announcing import Announcer
from producers.folders.directory import DirectoryRun, Tally
from producers.images import Wishes
from producers.publishing import Patience
from tests.fakes.publisher import MemoryPublisher

JOB = UUID(int=3)
MAIN = RootedPath("main", b"")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(1200):
        (tmp_path / f"{number:04}.jpg").write_bytes(b"x")
    (tmp_path / "film.mp4").write_bytes(b"x")
    return tmp_path


def run(root: Path, kafka: MemoryPublisher) -> DirectoryRun:
    announcer = Announcer(kafka, "/test", Patience(limit_s=0))
    return DirectoryRun(Roots({"main": root}), announcer, Wishes(labels=("x" * 100,)))


async def test_progress_is_shown_batch_by_batch(root: Path, kafka: MemoryPublisher) -> None:
    shown: list[int] = []

    tally = await run(root, kafka).run(MAIN, JOB, lambda tally: shown.append(tally.published))

    assert shown == [500, 1000, 1200]
    assert (tally.published, tally.refused, tally.skipped) == (1200, 0, Counter(video=1))
    assert len(set(kafka.uris())) == 1200


async def test_a_refused_photo_is_named_and_the_rest_is_published(
    root: Path, kafka: MemoryPublisher
) -> None:
    (root / ("long" * 50 + ".jpg")).write_bytes(b"x")
    kafka.largest_value = 350

    tally = await run(root, kafka).run(MAIN, JOB, lambda _: None)

    assert (tally.published, tally.refused) == (1200, 1)
    [refusal] = tally.refusals
    assert (refusal.path, refusal.reason) == (f"main/{'long' * 50}.jpg", "kafka_refused")


async def test_a_broker_that_stays_away_cuts_the_run_short(
    root: Path, kafka: MemoryPublisher
) -> None:
    kafka.is_away = True

    tally = await run(root, kafka).run(MAIN, JOB, lambda _: None)

    assert tally.is_cut_short
    assert (tally.published, tally.refused) == (0, 500)
    assert {refusal.reason for refusal in tally.refusals} == {"broker_away"}


async def test_a_directory_or_root_that_is_not_there_is_told_apart(
    root: Path, kafka: MemoryPublisher
) -> None:
    def show(tally: Tally) -> None:
        raise AssertionError(tally)

    with pytest.raises(ImageMissing):
        await run(root, kafka).run(RootedPath("main", b"nowhere"), JOB, show)
    with pytest.raises(BlobStoreAway):
        await run(root / "unplugged", kafka).run(MAIN, JOB, show)
