"""PostgreSQL's faults: kill, interruption, a taken port, a folder that its user cannot enter."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from standalone.failures import DirectoryLocked, NotSupported
from standalone.postgres import data_directory
from standalone.postgres.server import EmbeddedPostgres
from standalone.postgres.unix_user import can_reach, unprivileged_user
from tests.servers import first_port

PORT_OFFSET = 300  # away from the session's own servers

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home, first_port() + PORT_OFFSET)
    server.start()
    yield server
    server.stop()


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_what_was_committed_is_there_after_a_kill(server: EmbeddedPostgres) -> None:
    await query(server.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    port = server.port
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL
    server.start()
    assert server.port == port
    assert await query(server.url, "SELECT count(*) FROM kept") == 1000


async def test_sums_over_300_000_images_stay_in_memory(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url, timeout=10)
    try:
        plan = await connection.fetch(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT n % 300000, sum(n), max(n)"
            " FROM generate_series(1, 600000) AS n GROUP BY 1"
        )
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in plan)
    aggregate = text[: text.index("Function Scan")]
    assert "Aggregate" in aggregate
    assert "Disk" not in aggregate, text


async def test_a_clean_stop_leaves_no_process_and_keeps_data_and_passwords(
    server: EmbeddedPostgres, home: Path
) -> None:
    await query(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
    url = server.url
    server.stop()
    assert not server.is_running
    again = EmbeddedPostgres(home, server.port)
    again.start()
    try:
        assert again.url == url
        assert await query(url, "SELECT n FROM kept") == 7
    finally:
        again.stop()


def test_a_second_server_on_the_same_data_is_refused(server: EmbeddedPostgres, home: Path) -> None:
    second = EmbeddedPostgres(home, server.port + 1)
    with pytest.raises(DirectoryLocked, match=f"process {os.getpid()}, ports {server.port}"):
        second.start()
    assert server.is_running


def test_a_taken_port_means_the_next_one(home: Path) -> None:
    wanted = first_port() + PORT_OFFSET + 20
    with socket.create_server(("127.0.0.1", wanted)):
        server = EmbeddedPostgres(home, wanted)
        server.start()
        try:
            assert server.port == wanted + 1
        finally:
            server.stop()


async def test_an_interrupted_first_start_is_made_good(empty_home: Path) -> None:
    for name in ("data", "data.partial"):  # initdb was killed, or we were between two steps
        (empty_home / "postgres" / name / "base").mkdir(parents=True)
    server = EmbeddedPostgres(empty_home, first_port() + PORT_OFFSET)
    server.start()
    try:
        assert await query(server.url, "SELECT 1") == 1
    finally:
        server.stop()


async def test_a_database_that_was_not_finished_is_finished(server: EmbeddedPostgres) -> None:
    await query(server.admin_url, "DROP DATABASE photo_archive")
    server.stop()
    server.start()
    assert await query(server.url, "SELECT 1") == 1


def test_data_of_another_version_is_left_alone(server: EmbeddedPostgres, home: Path) -> None:
    server.stop()
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(NotSupported, match="made by PostgreSQL 17, this is 18"):
        server.start()


def test_data_without_its_passwords_is_left_alone(server: EmbeddedPostgres, home: Path) -> None:
    server.stop()
    (home / "postgres" / "passwords.json").unlink()
    with pytest.raises(NotSupported, match=r"passwords\.json is gone"):
        server.start()


def test_the_passwords_are_for_their_owner_alone(server: EmbeddedPostgres, home: Path) -> None:
    assert (home / "postgres" / "passwords.json").stat().st_mode & 0o077 == 0
    assert (home / "postgres" / "data").stat().st_mode & 0o077 == 0


@root_only
def test_roots_private_folder_stays_private_and_the_data_goes_elsewhere(empty_home: Path) -> None:
    private = empty_home / "private"
    private.mkdir(mode=0o700)
    (private / "postgres").mkdir()
    directory = data_directory.prepare_data(private / "postgres", own_place=empty_home / "place")
    assert directory.path.is_relative_to(empty_home / "place")
    assert (directory.path / "PG_VERSION").exists()
    assert private.stat().st_mode & 0o077 == 0
    again = data_directory.prepare_data(private / "postgres", own_place=empty_home / "place")
    assert again == directory
    shutil.rmtree(private / "postgres")
    (private / "postgres").mkdir()
    anew = data_directory.prepare_data(private / "postgres", own_place=empty_home / "place")
    assert anew.path != directory.path


@root_only
def test_a_private_mask_does_not_keep_postgresqls_user_out(empty_home: Path) -> None:
    """As in `restore`: the place would be closed for this and every later start of the machine."""
    private, place = empty_home / "private", empty_home / "place"
    private.mkdir(mode=0o700)
    (private / "postgres").mkdir()
    before = os.umask(0o077)
    try:
        directory = data_directory.prepare_data(private / "postgres", own_place=place)
    finally:
        os.umask(before)
    assert can_reach(unprivileged_user(directory.path), directory.path.parent)
    assert directory.path.stat().st_mode & 0o077 == 0


@root_only
def test_binaries_in_a_private_folder_are_copied_to_where_their_user_can_run_them(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = empty_home / "private"
    private.mkdir(mode=0o700)
    installed = data_directory.installation()
    package = installed.parent
    copy = private / package.name / installed.name
    shutil.copytree(installed, copy, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), private / f"{package.name}.libs")
    monkeypatch.setattr(data_directory, "installation", lambda: copy)
    (empty_home / "postgres").mkdir()
    directory = data_directory.prepare_data(empty_home / "postgres", own_place=empty_home / "place")
    assert directory.binaries.is_relative_to(empty_home / "place")
    assert private.stat().st_mode & 0o077 == 0
    account = unprivileged_user(directory.path)
    assert can_reach(account, directory.binaries / "postgres")


def test_a_folder_that_cannot_be_written_is_said_in_words(empty_home: Path) -> None:
    (empty_home / "postgres").write_text("a file where the folder should be")
    with pytest.raises(NotSupported, match="PostgreSQL cannot work in"):
        EmbeddedPostgres(empty_home, first_port() + PORT_OFFSET).start()


@root_only
def test_the_server_does_not_run_as_root(server: EmbeddedPostgres) -> None:
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
