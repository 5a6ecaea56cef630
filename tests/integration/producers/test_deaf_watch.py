"""A watch that breaks or goes deaf: what changed is found by a scan, and events come again."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

from core.blobs.roots import Roots
from producers.folders.hints import MANY_CHANGES, Hint, HintBuffer, HintKind, WatchfilesHints
from tests.integration.producers.watched import PACE, Watched, until

LONG_BETWEEN_SCANS = replace(PACE, rescan_s=600)  # as in use


class BreakingHints:
    """A watcher that is live, tells nothing, and breaks when told to."""

    def __init__(self) -> None:
        self.breaks = asyncio.Event()
        self.listener: HintBuffer | None = None

    async def run(self, listener: HintBuffer) -> None:
        listener.set_live(True)
        self.listener = listener
        await self.breaks.wait()
        listener.set_live(False)
        await asyncio.Event().wait()


async def test_a_directory_that_is_not_utf_8_does_not_deafen_the_bridge(root: Watched) -> None:
    root.pace = LONG_BETWEEN_SCANS
    root.write("1.jpg")
    async with root.running():
        await root.announced("1.jpg")  # by now the long pause has begun
        os.mkdir(os.fsencode(root.path) + b"/caf\xe9")  # noqa: PTH102 - paths are text
        Path(os.fsdecode(os.fsencode(root.path) + b"/caf\xe9/in.jpg")).write_bytes(b"photo")
        await root.announced("1.jpg", "caf%E9/in.jpg")
        root.write("after.jpg")
        await root.announced("1.jpg", "after.jpg", "caf%E9/in.jpg")


async def test_a_directory_removed_and_made_anew_is_heard_again(root: Watched) -> None:
    root.pace = LONG_BETWEEN_SCANS
    root.write("1.jpg")
    async with root.running():
        await root.announced("1.jpg")
        shutil.rmtree(root.path)
        root.write("2.jpg")
        await until(lambda: "2.jpg" in root.uris())
        root.write("d/3.jpg")
        await root.announced("1.jpg", "2.jpg", "d/3.jpg")


async def test_another_directory_under_the_watched_path_is_heard_and_the_old_one_is_not(
    root: Watched,
) -> None:
    root.pace = LONG_BETWEEN_SCANS
    async with root.running():
        root.write("1.jpg")
        await root.announced("1.jpg")
        old = root.path.rename(root.path.parent / "old")
        root.write("2.jpg")
        await until(lambda: "2.jpg" in root.uris())
        (old / "not-ours.jpg").write_bytes(b"elsewhere")
        root.write("d/3.jpg")
        await root.announced("1.jpg", "2.jpg", "d/3.jpg")


async def test_a_link_that_is_turned_to_another_directory_is_followed(root: Watched) -> None:
    root.pace = LONG_BETWEEN_SCANS
    link, other = root.path.parent / "link", root.path.parent / "other"
    other.mkdir()
    link.symlink_to(root.path)
    root.roots = Roots({"main": link})
    async with root.running(WatchfilesHints(link)):
        root.write("1.jpg")
        await root.announced("1.jpg")
        turned = root.path.parent / "turned"
        turned.symlink_to(other)
        turned.replace(link)
        (other / "2.jpg").write_bytes(b"two")
        await until(lambda: "2.jpg" in root.uris())
        (other / "3.jpg").write_bytes(b"three")
        await root.announced("1.jpg", "2.jpg", "3.jpg")


async def test_a_file_system_mounted_below_wakes_the_scan_and_a_new_watch(
    root: Watched, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"22 1 8:1 / / rw - ext4 /dev/sda rw\n")
    root.pace = LONG_BETWEEN_SCANS
    root.write("1.jpg")
    async with root.running(WatchfilesHints(root.path, mounts=mounts)) as bridge:
        await root.announced("1.jpg")
        seen = bridge.scans_done
        place = os.fsencode(root.path.resolve()) + b"/my\\040stick"
        with mounts.open("ab") as file:
            file.write(b"23 22 8:17 / " + place + b" rw - vfat /dev/sdb1 rw\n")
        await until(lambda: bridge.scans_done > seen)
        root.write("my stick/2.jpg")
        await root.announced("1.jpg", "my stick/2.jpg")


async def test_a_watch_that_breaks_wakes_the_scan_and_is_polled_until_it_is_back(
    root: Watched,
) -> None:
    root.pace = LONG_BETWEEN_SCANS
    hints = BreakingHints()
    root.write("1.jpg")
    async with root.running(hints) as bridge:
        await root.announced("1.jpg")  # by now the long pause has begun
        root.write("2.jpg")  # no event tells of it
        hints.breaks.set()
        await root.announced("1.jpg", "2.jpg")
        seen = bridge.scans_done
        await until(lambda: bridge.scans_done > seen + 2)


async def test_more_changes_at_once_than_the_kernel_may_keep_are_scanned_for(
    root: Watched,
) -> None:
    root.pace = LONG_BETWEEN_SCANS
    hints = BreakingHints()
    root.write("1.jpg")
    async with root.running(hints):
        await root.announced("1.jpg")
        root.write("lost.jpg")  # its event was dropped
        assert hints.listener is not None
        hints.listener.add(
            [Hint(HintKind.MODIFIED, b"%d.txt" % number) for number in range(MANY_CHANGES)]
        )
        await root.announced("1.jpg", "lost.jpg")
