"""Java's cache of the broker: nobody waits for another's recording, and few are kept."""

import fcntl
import os
from pathlib import Path

from standalone.kafka.aot import KEPT, AotCache


def cache_of(folder: Path, name: str) -> AotCache:
    return AotCache(folder, (name,), ())


def record(cache: AotCache) -> None:
    """What a broker does that was started to record: Java writes the file, and it is kept."""
    (option,) = cache.recording_options()
    Path(option.partition("=")[2]).write_bytes(b"classes")
    cache.keep()


def test_a_start_does_not_wait_for_the_recording_of_another(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        recorded: list[str] = []
        cache_of(tmp_path, "a").ensure(lambda: recorded.append("a"))
    assert recorded == []
    cache_of(tmp_path, "a").ensure(lambda: recorded.append("a"))
    assert recorded == ["a"], "once the other is done"


def test_the_caches_that_were_not_used_for_longest_are_deleted(tmp_path: Path) -> None:
    caches = [cache_of(tmp_path, str(number)) for number in range(KEPT + 3)]
    for age, cache in enumerate(reversed(caches[:-1])):
        record(cache)
        (option,) = cache.options()
        os.utime(option.partition("=")[2], (1e9 - age, 1e9 - age))
    assert caches[0].options(), "used now, which was the oldest"

    caches[-1].ensure(lambda: record(caches[-1]))

    kept = [number for number, cache in enumerate(caches) if cache.options()]
    assert kept == [0, *range(len(caches) - KEPT + 1, len(caches))]
