"""A primary and its standby: who leads when one of them dies, and what keeps the dead one out."""

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
import pytest

from standalone.failures import DiskFull, ServerFailed
from standalone.ports import PortPlan
from standalone.postgres import lineage
from standalone.postgres.data_directory import DataDirectory, Passwords, fill
from standalone.postgres.node import PostgresNode
from standalone.postgres.pair import PostgresPair
from standalone.postgres.server import EmbeddedPostgres
from standalone.processes.supervised_process import SupervisedProcess
from tests.servers import first_port, migrate

PORT_OFFSET = 340
UP_S = 180.0


PROMOTIONS = "SELECT count(*) FROM promotions"
FORGETFUL = f"{PROMOTIONS} WHERE missing_since IS NOT NULL"


@dataclass(frozen=True)
class Room:
    """What is free on a disk, as `shutil.disk_usage` says it."""

    free: int


@dataclass
class Running:
    """A pair that is kept up, and what it said."""

    pair: PostgresPair
    said: list[str] = field(default_factory=list)

    def until(self, probe: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + UP_S
        while not probe():
            assert time.monotonic() < deadline, f"{what}: {self.said}"
            time.sleep(0.02)


@contextmanager
def kept_up(home: Path) -> Iterator[Running]:
    said: list[str] = []
    pair = PostgresPair(home, first_port() + PORT_OFFSET, plan=PortPlan(), say=said.append)
    keepers = [
        SupervisedProcess("postgres", pair, say=said.append, longest_delay_s=1.0),
        SupervisedProcess("standby", pair.follower, say=said.append, longest_delay_s=1.0),
    ]
    for keeper in keepers:
        keeper.start()
    try:
        keepers[0].wait_until_up()
        yield Running(pair, said)
    finally:
        for keeper in keepers:
            keeper.request_stop()


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.mark.timeout(600)
async def test_a_dead_primary_is_replaced_fenced_and_made_the_standby(empty_home: Path) -> None:
    with kept_up(empty_home) as running:
        pair = running.pair
        running.until(lambda: pair.is_in_step, "no standby")
        await query(pair.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        dead, heir, url = pair.primary, pair.standby, pair.url
        data = dead._started().path

        os.kill(pair.pid, signal.SIGKILL)
        running.until(lambda: pair.primary is heir and heir.is_ready, "not promoted")

        assert await query(url, "SELECT count(*) FROM kept") == 1000, "the address leads to it"
        assert lineage.primary_folder(empty_home) == heir.folder
        running.until((data / lineage.STANDBY_SIGNAL).exists, "not fenced")
        await query(url, "INSERT INTO kept VALUES (1001)")
        running.until(lambda: pair.is_in_step, "no new standby")
        os.kill(pair.pid, signal.SIGKILL)
        running.until(lambda: pair.primary is dead and dead.is_ready, "not promoted again")
        assert await query(url, "SELECT count(*) FROM kept") == 1001

    alone = EmbeddedPostgres(empty_home, first_port() + PORT_OFFSET + 20)
    alone.start()  # as `up` without a standby, and `backup` of an archive at rest, do
    try:
        assert await query(alone.url, "INSERT INTO kept VALUES (1002) RETURNING n") == 1002
    finally:
        alone.stop()


@pytest.mark.timeout(600)
async def test_without_its_standby_the_primary_goes_on_alone_and_is_started_again(
    empty_home: Path,
) -> None:
    with kept_up(empty_home) as running:
        pair = running.pair
        running.until(lambda: pair.is_in_step, "no standby")
        primary, follower = pair.primary, psutil.Process(pair.follower.pid)
        stopped = [follower, *follower.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            await query(pair.url, "CREATE TABLE kept AS SELECT 7 AS n")  # waits until it is alone
            assert not pair.is_in_step
            assert any("goes on alone" in message for message in running.said)
            old = pair.pid
            os.kill(old, signal.SIGKILL)
            running.until(lambda: pair.pid != old and primary.is_ready, "not started again")
            assert pair.primary is primary, "the standby lacks what was acknowledged"
            assert await query(pair.url, "SELECT n FROM kept") == 7
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):  # it was made anew
                    process.resume()
        running.until(lambda: pair.is_in_step, "not in step again")
        assert pair.primary is primary


@pytest.mark.timeout(600)
async def test_a_full_disk_while_the_standby_goes_ends_no_watch(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else commits wait for a dead standby for ever."""
    with kept_up(empty_home) as running:
        pair = running.pair
        running.until(lambda: pair.is_in_step, "no standby")
        failures = full_for(monkeypatch, tries=3)
        follower = psutil.Process(pair.follower.pid)
        stopped = [follower, *follower.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            await query(pair.url, "CREATE TABLE kept AS SELECT 7 AS n")  # waits until it is alone
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
        assert failures == []
        assert len([one for one in running.said if "No space" in one]) == 1, running.said
        running.until(lambda: pair.is_in_step, "the watch has ended")


def full_for(monkeypatch: pytest.MonkeyPatch, *, tries: int) -> list[OSError]:
    """Let the next few writes of PostgreSQL's settings fail; return those that have not yet."""
    ahead = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) for _ in range(tries)]
    configure = lineage.configure

    def full(data: DataDirectory, settings: Mapping[str, str]) -> None:
        if ahead:
            raise ahead.pop()
        configure(data, settings)

    monkeypatch.setattr(lineage, "configure", full)
    return ahead


@pytest.mark.timeout(600)
async def test_a_death_between_the_note_and_the_promotion_is_made_good(empty_home: Path) -> None:
    with kept_up(empty_home) as running:
        running.until(lambda: running.pair.is_in_step, "no standby")
        await query(running.pair.url, "CREATE TABLE kept AS SELECT 7 AS n")
        heir = running.pair.standby
    lineage.name_primary(empty_home, heir.folder)  # and then the supervisor was killed

    with kept_up(empty_home) as running:
        assert running.pair.primary.folder == heir.folder
        assert await query(running.pair.url, "UPDATE kept SET n = 8 RETURNING n") == 8
        running.until(lambda: running.pair.is_in_step, "no new standby")


@pytest.mark.timeout(600)
async def test_a_death_before_the_promotion_is_made_good_by_a_start_without_a_standby(
    empty_home: Path,
) -> None:
    with kept_up(empty_home) as running:
        running.until(lambda: running.pair.is_in_step, "no standby")
        migrate(running.pair.url)
        assert await query(running.pair.url, "SELECT note_promotion()") == 0
        heir = running.pair.standby
    lineage.name_primary(empty_home, heir.folder)  # and then the supervisor was killed

    alone = EmbeddedPostgres(empty_home, first_port() + PORT_OFFSET + 20)
    for _ in range(2):  # the first start ends before anybody connects
        alone.start()
        alone.stop()
    alone.start()
    try:
        assert await query(alone.url, "SELECT note_promotion()") == 0
        assert await query(alone.url, PROMOTIONS) == 2
        assert await query(alone.url, FORGETFUL) == 0, "it had everything"
    finally:
        alone.stop()


@pytest.mark.timeout(600)
def test_a_standby_that_finds_no_room_is_not_begun(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that fills the disk would end the primary on it."""
    first, second = lineage.folders(empty_home)
    leader, standby = (
        PostgresNode(
            empty_home, first_port() + PORT_OFFSET, log=empty_home / f"{folder.name}.log",
            folder=folder,
        )
        for folder in (first, second)
    )  # fmt: skip
    free = 900_000_000  # less than the log alone may take
    leader.start()
    try:
        standby.follow(leader)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Room(free))
        with pytest.raises(DiskFull, match=r"it needs 1\d\d\d MB, and 900 MB are free"):
            standby.start()
        assert not standby.is_running
        assert not (second / "data.partial").exists()
        monkeypatch.undo()
        standby.start()
        assert standby.is_running
    finally:
        standby.stop()
        leader.stop()


def test_what_a_failed_copy_left_takes_no_room(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data", tmp_path, None, Passwords("a", "b"))

    def work(partial: Path) -> None:
        (partial / "base").write_bytes(b"half")
        raise ServerFailed("the leader went away")

    with pytest.raises(ServerFailed):
        fill(data, work)
    assert list(tmp_path.iterdir()) == []
