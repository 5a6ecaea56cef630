"""What a decoder that a picture has taken over can read, write, reach and start: before and after.

Real processes run the attempts of `escapes.py`, in a pool with the locks and in one without.
"""

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core.errors import ImageUnreadable
from core.settings import MIB
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.pool.answers import Decoded, OutgoingCopy
from core.vision.decoding.worker_process import PoolLimits
from tests.fakes import pictures
from tests.integration.vision.decoding import escapes

PAGE = Path(__file__).parents[4] / "docs/guarantees.md"
LIMITS = PoolLimits(workers=1, timeout_s=30.0, memory_bytes=512 * MIB)
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
Outcome = Mapping[str, str]


@pytest.fixture
async def sealed() -> AsyncIterator[DecodePool]:
    async with DecodePool(LIMITS, operations=escapes.sealed) as pool:
        yield pool


@pytest.fixture
async def unsealed() -> AsyncIterator[DecodePool]:
    """Yield a pool without any lock, and a parent that others of its user can look into."""
    async with DecodePool(LIMITS, operations=escapes.unsealed) as pool:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        yield pool


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[escapes.Target]:
    for name in ("secret", "victim", "moving"):
        (tmp_path / name).write_text("secret")
    # A path of a Unix socket has 107 bytes at most, so it is bound by its name alone.
    monkeypatch.chdir(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        subprocess.Popen(["sleep", "600"]) as other,
    ):
        local.bind("socket")
        local.listen()
        yield escapes.Target(os.getpid(), other.pid, str(tmp_path), server.getsockname()[1])
        other.kill()


async def attempt(pool: DecodePool, name: str, target: escapes.Target) -> Outcome:
    """Return {"got": …}, {"refused": …} or {"killed": …}."""
    order = json.dumps({"attempt": name, "target": asdict(target)}).encode()
    answer = await pool.outgoing_copy(order)
    if isinstance(answer, OutgoingCopy):
        outcome: Outcome = json.loads(answer.data)
        return outcome
    assert isinstance(answer, ImageUnreadable)
    return {"killed": str(answer)}


async def test_a_sealed_decoder_gets_nothing_but_what_decoding_needs(
    sealed: DecodePool, target: escapes.Target
) -> None:
    got = {name: await attempt(sealed, name, target) for name in escapes.ATTEMPTS}

    assert {name for name, outcome in got.items() if "got" in outcome} == escapes.LEFT, got
    assert all("SIGSYS" in each["killed"] for each in got.values() if "killed" in each), got
    assert Path(target.folder, "secret").read_text() == "secret"
    assert {each.name for each in Path(target.folder).iterdir()} == {
        "secret", "victim", "moving", "socket",
    }  # fmt: skip


async def test_without_the_locks_each_attempt_succeeds(
    unsealed: DecodePool, target: escapes.Target
) -> None:
    """The attempts are real ones: none is refused for a fault of its own."""
    got = {name: await attempt(unsealed, name, target) for name in escapes.ATTEMPTS}

    failed = {name: outcome for name, outcome in got.items() if "got" not in outcome}
    assert set(failed) <= escapes.UP_TO_THE_SYSTEM, failed


async def test_what_only_an_attacker_asks_for_costs_the_process_that_asks(
    sealed: DecodePool, target: escapes.Target
) -> None:
    before = sealed.pids
    outcome = await attempt(sealed, "start a program", target)
    assert "killed" in outcome or outcome == {"refused": "EPERM"}
    outcome = await attempt(sealed, "connect by TCP (database, broker, cloud metadata)", target)

    assert "SIGSYS" in outcome["killed"]
    assert not set(before) & set(sealed.pids)
    assert isinstance(await sealed.decode(pictures.jpeg(1)), Decoded)


async def test_code_that_could_be_written_when_it_was_loaded_cannot_be_any_more(
    sealed: DecodePool, unsealed: DecodePool
) -> None:
    assert isinstance(await unsealed.outgoing_copy(b"write code"), OutgoingCopy)
    answer = await sealed.outgoing_copy(b"write code")
    assert isinstance(answer, ImageUnreadable)
    assert "SIGSEGV" in str(answer)


async def test_a_decoder_begins_with_no_secret_and_no_descriptor_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:secret@127.0.0.1/x")
    monkeypatch.setenv("SECRETS_KEY", "secret")
    with (tmp_path / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        async with DecodePool(LIMITS, operations=escapes.sealed) as pool:
            answer = await pool.outgoing_copy(b"at load")
    assert isinstance(answer, OutgoingCopy)
    begun = json.loads(answer.data)

    assert "secret" not in json.dumps([begun["environment"], begun["arguments"]])
    connection = int(begun["arguments"][1])
    # the three standard ones are /dev/null; one more was open for looking at them
    assert len(set(begun["descriptors"]) - {0, 1, 2, connection}) == 1


async def test_the_holder_of_a_pool_is_hidden_from_others_of_its_user() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    async with DecodePool(LIMITS):
        assert ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0


async def test_a_lock_that_the_system_lacks_is_said_once_and_the_others_hold(
    target: escapes.Target,
) -> None:
    with capture_logs() as lines:
        limits = PoolLimits(workers=2, memory_bytes=512 * MIB)
        async with DecodePool(limits, operations=escapes.without_seccomp) as pool:
            secret = await attempt(
                pool, "read a file of the archive (`secrets.key`, photos)", target
            )
            reached = await attempt(
                pool, "connect by TCP (database, broker, cloud metadata)", target
            )
            assert isinstance(await pool.decode(pictures.jpeg(1)), Decoded)

    said = [line for line in lines if line["event"] == "decoder_unsealed"]
    assert len(said) == 1
    assert said[0]["missing"]["seccomp"] == "no table of system calls for abacus"
    assert secret["refused"] in {"EACCES", "EMFILE"}
    assert reached["refused"] == "EMFILE"


def test_the_page_has_a_row_for_each_attempt() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in escapes.ATTEMPTS if f"| {name} |" not in page] == []
