"""Files at rest, and comparison with the ledger."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.blobs.roots import Signature
from core.storage.folders.watched_files import FileState, WatchedFile
from producers.folders.settling import Settling, is_at_rest, needs_work
from schemas.image import image_id_of

SEEN = Signature(size_bytes=10, mtime_ns=5, inode=7, ctime_ns=10**18, device=1)
KNOWN = WatchedFile(
    "main", b"a.jpg", 10, 5, 7, 1, image_id_of("file:main/a.jpg"), FileState.ANNOUNCED
)


def test_a_file_rests_once_it_has_not_changed_for_the_whole_time() -> None:
    settling = Settling(2, 10)
    settling.observe(b"a", SEEN, now=0)
    settling.observe(b"a", replace(SEEN, size_bytes=11), now=1.5)
    settling.observe(b"a", replace(SEEN, size_bytes=11), now=3)

    assert settling.take_rested(3.4, 10) == {}
    assert settling.take_rested(3.5, 10) == {b"a": replace(SEEN, size_bytes=11)}
    assert settling.take_rested(9, 10) == {}


def test_a_file_that_is_gone_is_not_waited_for() -> None:
    settling = Settling(2, 10)
    settling.observe(b"a", SEEN, now=0)
    settling.forget(b"a")

    assert settling.take_rested(9, 10) == {}


def test_where_there_is_no_room_the_caller_learns_it() -> None:
    settling = Settling(2, 1)

    assert settling.observe(b"a", SEEN, now=0)
    assert settling.observe(b"a", replace(SEEN, mtime_ns=6), now=1)
    assert not settling.observe(b"b", SEEN, now=1)


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 3)), max_size=30))
def test_no_file_rests_sooner_than_its_last_change_allows(steps: list[tuple[int, float]]) -> None:
    settling, now, changed, size = Settling(2, 10), 0.0, 0.0, 0
    for new_size, passed in steps:
        now += passed
        if new_size != size:
            size, changed = new_size, now
        settling.observe(b"a", replace(SEEN, size_bytes=size), now)
        if settling.take_rested(now, 10):
            assert now - changed >= 2
            size = 0


def test_rest_is_judged_by_the_change_time_that_nobody_can_set() -> None:
    copied_with_its_old_date = replace(SEEN, mtime_ns=0)

    assert not is_at_rest(copied_with_its_old_date, SEEN.ctime_ns + 1_999_999_999, 2)
    assert is_at_rest(copied_with_its_old_date, SEEN.ctime_ns + 2_000_000_000, 2)


def test_work_is_what_is_new_changed_failed_or_back() -> None:
    assert needs_work(None, SEEN)
    assert not needs_work(KNOWN, SEEN)
    assert not needs_work(KNOWN, replace(SEEN, device=2, ctime_ns=0))
    for change in ({"size_bytes": 11}, {"mtime_ns": 6}, {"inode": 8}):
        assert needs_work(KNOWN, replace(SEEN, **change))
    assert needs_work(replace(KNOWN, state=FileState.MISSING), SEEN)
    assert needs_work(replace(KNOWN, state=FileState.FAILING), SEEN)
    assert not needs_work(replace(KNOWN, state=FileState.QUARANTINED), SEEN)
