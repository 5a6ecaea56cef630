"""The filesystem bridge with real files, watcher and ledger: all announced, none twice."""

import asyncio
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from producers.folders.crowds import FRESH_PER_MINUTE
from schemas.topics import IMAGES_ARRIVED, IMAGES_BULK
from tests.integration.producers.watched import LIMIT_S, PACE, NoHints, Watched, until


async def test_four_hundred_files_in_twenty_new_nested_folders_are_announced_once(
    root: Watched,
) -> None:
    folders = ["/".join(f"d{i}" for i in range(depth + 1)) for depth in range(20)]
    names = [f"{folder}/{i}.jpg" for folder in folders for i in range(20)]

    async with root.running():
        for name in names:
            root.write(name)
        await root.announced(*names)
    assert await root.states() == Counter({"announced": 400})


async def test_a_crowd_of_files_goes_in_bulk_and_a_photo_that_comes_later_does_not(
    root: Watched,
) -> None:
    names = [f"{number:03}.jpg" for number in range(3 * FRESH_PER_MINUTE)]
    for name in names:
        root.write(name)
    root.pace = replace(PACE, batch=len(names), settle_s=0.05)
    async with root.running():
        await root.announced(*names)
        assert {record.topic for record in root.kafka.records} == {IMAGES_BULK.name}

        root.write("new.jpg")
        await root.announced(*names, "new.jpg")

    assert root.kafka.records[-1].topic == IMAGES_ARRIVED.name


async def test_a_file_is_announced_when_its_writer_is_done_and_not_before(root: Watched) -> None:
    async with root.running():
        with (root.path / "slow.jpg").open("wb", buffering=0) as file:
            for _ in range(12):
                file.write(b"piece")
                await asyncio.sleep(0.1)
                assert root.uris() == []
        await root.announced("slow.jpg")


async def test_files_renamed_in_are_announced_and_unfinished_names_are_not(root: Watched) -> None:
    async with root.running():
        part = root.write("upload.jpg.part")
        root.write(".hidden.jpg")
        await asyncio.sleep(3 * PACE.settle_s)
        assert root.uris() == []
        part.rename(root.path / "upload.jpg")
        outside = root.path.parent / "outside.jpg"
        outside.write_bytes(b"outside")
        os.utime(outside, (1, 1))  # a file with an old mtime is new all the same
        outside.rename(root.path / "inside.jpg")
        await root.announced("inside.jpg", "upload.jpg")


async def test_a_tree_moved_in_is_announced_whole_and_files_written_into_it_later(
    root: Watched,
) -> None:
    tree = root.path.parent / "tree"
    for name in ("1.jpg", "a/2.jpg", "a/b/c/3.png", "a/notes.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(name.encode())

    async with root.running():
        tree.rename(root.path / "moved")
        await root.announced("moved/1.jpg", "moved/a/2.jpg", "moved/a/b/c/3.png")
        root.write("moved/a/b/c/4.jpg")
        await root.announced(
            "moved/1.jpg", "moved/a/2.jpg", "moved/a/b/c/3.png", "moved/a/b/c/4.jpg"
        )


async def test_a_restart_catches_up_with_what_changed_meanwhile_and_repeats_nothing(
    root: Watched,
) -> None:
    kept = [f"old/{i}.jpg" for i in range(120)]
    for name in kept:
        root.write(name)
    async with root.running():
        await root.announced(*kept)

    root.write("new/1.jpg")
    root.write("old/0.jpg", b"other bytes")
    os.utime(root.path / "old" / "1.jpg")  # touched, with the same bytes

    async with root.running():
        await root.announced(*kept, "new/1.jpg", "old/0.jpg")
    assert await root.states() == Counter({"announced": 121})


async def test_a_bridge_stopped_in_the_middle_of_a_directory_announces_the_rest_once(
    root: Watched,
) -> None:
    names = [f"{i:04}.jpg" for i in range(300)]
    for name in names:
        root.write(name)
    await asyncio.sleep(PACE.settle_s)
    root.kafka.delay_s = 0.1
    async with root.running(NoHints(), scanned=False):
        await until(lambda: len(root.kafka.records) >= 60)
    some = len(root.kafka.records)

    async with root.running():
        await root.announced(*names)
    assert 60 <= some < 300


async def test_without_events_scans_find_everything(root: Watched) -> None:
    async with root.running(NoHints()):
        root.write("a/b/1.jpg")
        root.write("2.jpg")
        await root.announced("2.jpg", "a/b/1.jpg")


async def test_a_name_that_is_not_utf_8_is_announced_and_does_not_deafen_the_bridge(
    root: Watched,
) -> None:
    async with root.running():
        path = os.fsencode(root.path) + b"/caf\xe9.jpg"
        Path(os.fsdecode(path)).write_bytes(b"photo")
        await until(lambda: root.uris() == ["caf%E9.jpg"])
        await asyncio.sleep(1)
        root.write("after.jpg")
        await root.announced("after.jpg", "caf%E9.jpg")


async def test_a_lost_acknowledgement_costs_one_repeat_and_no_file(root: Watched) -> None:
    root.kafka.lose_acknowledgements = 1
    async with root.running():
        root.write("1.jpg")
        await until(lambda: len(root.kafka.records) == 2)
        root.write("2.jpg")
        await until(lambda: "2.jpg" in root.uris())
    assert Counter(root.uris()) == Counter({"1.jpg": 2, "2.jpg": 1})
    assert await root.states() == Counter({"announced": 2})


async def test_while_kafka_is_away_files_wait_and_are_then_announced_once(root: Watched) -> None:
    root.kafka.is_away = True
    async with root.running():
        root.write("1.jpg")
        await until(lambda: root.kafka.calls > 3)
        root.write("d/2.jpg")
        root.kafka.is_away = False
        await root.announced("1.jpg", "d/2.jpg")


async def test_a_bridge_without_kafka_stops_when_told_and_loses_nothing(root: Watched) -> None:
    root.kafka.is_away = True
    root.write("1.jpg")
    await asyncio.sleep(PACE.settle_s)
    async with root.running(NoHints(), scanned=False):
        await until(lambda: root.kafka.calls > 3)
    assert await root.states() == Counter()

    root.kafka.is_away = False
    async with root.running():
        await root.announced("1.jpg")


async def test_a_deleted_file_is_missing_and_announced_again_when_it_returns(
    root: Watched,
) -> None:
    path = root.write("1.jpg")
    root.write("d/2.jpg")
    async with root.running():
        await root.announced("1.jpg", "d/2.jpg")
        path.unlink()
        await _until_states(root, Counter({"announced": 1, "missing": 1}))
        root.write("1.jpg")
        await until(lambda: root.uris().count("1.jpg") == 2)
        await _until_states(root, Counter({"announced": 2}))


async def test_a_moved_file_is_announced_under_its_new_path_and_missing_under_its_old(
    root: Watched,
) -> None:
    root.write("a/1.jpg")
    async with root.running():
        await root.announced("a/1.jpg")
        (root.path / "a").rename(root.path / "b")
        await root.announced("a/1.jpg", "b/1.jpg")
        await _until_states(root, Counter({"announced": 1, "missing": 1}))


async def test_a_root_that_is_not_mounted_makes_nothing_missing(root: Watched) -> None:
    names = ["1.jpg", "d/2.jpg"]
    for name in names:
        root.write(name)
    async with root.running():
        await root.announced(*names)
    # An empty mount point is another directory on another device.
    await root.pool.execute("UPDATE watched_files SET device = device + 1")
    root.path.rename(root.path.parent / "unmounted")
    root.path.mkdir()

    async with root.running(NoHints()) as bridge:
        seen = bridge.scans_done
        await until(lambda: bridge.scans_done > seen + 4)
    assert await root.states() == Counter({"announced": 2})


async def test_a_device_renumbered_by_a_restart_does_not_hide_what_is_gone(root: Watched) -> None:
    names = ["1.jpg", "2.jpg"]
    for name in names:
        root.write(name)
    async with root.running():
        await root.announced(*names)
    await root.pool.execute("UPDATE watched_files SET device = device + 1")
    (root.path / "1.jpg").unlink()

    async with root.running():
        await _until_states(root, Counter({"announced": 1, "missing": 1}))
    assert root.uris() == names


async def test_a_file_that_cannot_be_taken_is_quarantined_and_freed_by_a_change(
    root: Watched,
) -> None:
    root.pace = replace(PACE, max_bytes=10)
    root.write("big.jpg", b"x" * 11)
    async with root.running():
        await _until_states(root, Counter({"quarantined": 1}))
        assert root.uris() == []
        root.write("big.jpg", b"small")
        await root.announced("big.jpg")
    assert await root.states() == Counter({"announced": 1})


async def test_a_path_too_long_for_the_ledger_is_passed_over(root: Watched) -> None:
    deep = root.path
    for _ in range(12):
        deep = deep / ("d" * 250)
        deep.mkdir()
    (deep / "deep.jpg").write_bytes(b"x")
    root.write("1.jpg")

    async with root.running():
        await root.announced("1.jpg")


async def _until_states(root: Watched, wanted: Counter[str]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while await root.states() != wanted:
            await asyncio.sleep(0.05)
