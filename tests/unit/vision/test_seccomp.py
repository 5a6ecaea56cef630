"""The filter of a decoder's system calls, run by a small interpreter for each processor."""

import os
import struct
from collections.abc import Callable

import pytest

from core.vision.decoding import seccomp

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
CONNECTION, PROCESS = 5, 4711
THREAD = 0x003D0F00
Ask = Callable[..., int]


def run(program: bytes, number: int, architecture: int, arguments: tuple[int, ...] = ()) -> int:
    """Return the verdict on a call, as the kernel's interpreter of classic BPF finds it."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, architecture, 0, *padded)
    lines = list(struct.iter_unpack("HBBI", program))
    at = held = 0
    while True:
        code, if_true, if_false, operand = lines[at]
        at += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                held &= operand
            case 0x15:
                at += if_true if held == operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise ValueError(code)


@pytest.fixture(params=[("x86_64", X86_64), ("aarch64", AARCH64)], ids=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> tuple[str, int]:
    name, architecture = request.param
    return str(name), int(architecture)


@pytest.fixture
def ask(machine: tuple[str, int]) -> Ask:
    """Return the verdict on (number on x86_64, number on aarch64, arguments…)."""
    name, architecture = machine
    program = seccomp.program(name, connection=CONNECTION, process=PROCESS)

    def asked(x86_64: int, aarch64: int, *arguments: int) -> int:
        number = x86_64 if name == "x86_64" else aarch64
        return run(program, number, architecture, arguments)

    return asked


def test_what_decoding_needs_is_allowed(ask: Ask) -> None:
    assert ask(45, 207, CONNECTION) == ALLOW  # recvfrom
    assert ask(44, 206, CONNECTION) == ALLOW  # sendto
    assert ask(9, 222, 0, 4096, 0b011, 0x22) == ALLOW  # mmap, to read and write
    assert ask(11, 215) == ALLOW  # munmap
    assert ask(12, 214) == ALLOW  # brk
    assert ask(231, 94) == ALLOW  # exit_group
    assert ask(302, 261, 0, 0) == ALLOW  # prlimit64 of this process
    assert ask(234, 131, PROCESS, PROCESS, 6) == ALLOW  # abort()


def test_no_other_descriptor_is_read_or_written(ask: Ask) -> None:
    assert ask(45, 207, CONNECTION + 1) == EPERM
    assert ask(44, 206, 0) == EPERM
    assert ask(0, 63, CONNECTION) == EPERM  # read
    assert ask(1, 64, CONNECTION) == EPERM  # write


@pytest.mark.parametrize("call", [(9, 222), (10, 226)], ids=["mmap", "mprotect"])
def test_no_memory_becomes_executable(ask: Ask, call: tuple[int, int]) -> None:
    for protection in range(8):
        expected = EPERM if protection & 4 else ALLOW
        assert ask(*call, 0, 4096, protection) == expected


def test_threads_may_be_made_and_processes_may_not(ask: Ask) -> None:
    assert ask(56, 220, THREAD) == ALLOW
    assert ask(56, 220, 17) == EPERM  # fork: SIGCHLD
    assert ask(56, 220, THREAD & ~0x10000) == EPERM  # without CLONE_THREAD
    assert ask(56, 220, THREAD | 0x10000000) == EPERM  # with a user namespace
    assert ask(435, 435) == ENOSYS  # clone3


def test_only_plain_waits_and_wakes_reach_the_futex(ask: Ask) -> None:
    allowed = {command for command in range(14) if ask(202, 98, 0, command) == ALLOW}
    assert allowed == {0, 1, 9, 10}
    assert ask(202, 98, 0, 9 | 128 | 256) == ALLOW  # private, by the wall clock


def test_other_processes_are_neither_limited_nor_signalled(ask: Ask) -> None:
    assert ask(302, 261, 1) == EPERM
    assert ask(234, 131, 1, 1, 9) == EPERM


@pytest.mark.parametrize(
    "call",
    [(59, 221), (322, 281), (101, 117), (62, 129), (41, 198), (425, 425), (321, 280), (46, 211)],
    ids=["execve", "execveat", "ptrace", "kill", "socket", "io_uring_setup", "bpf", "sendmsg"],
)
def test_what_only_an_attacker_asks_for_ends_the_process(ask: Ask, call: tuple[int, int]) -> None:
    assert ask(*call) == KILL


def test_thirty_calls_are_allowed_and_all_others_refused(machine: tuple[str, int]) -> None:
    name, architecture = machine
    program = seccomp.program(name, connection=CONNECTION, process=PROCESS)
    verdicts = [run(program, number, architecture) for number in range(1024)]
    # With arguments of zero: reading and writing descriptor 0, signals to process 0 and a clone
    # without flags are not allowed either.
    assert verdicts.count(ALLOW) == 27
    assert set(verdicts) == {ALLOW, KILL, EPERM, ENOSYS}
    assert len(program) // 8 < 200


def test_another_architecture_on_the_same_kernel_ends_the_process(
    machine: tuple[str, int],
) -> None:
    name, _ = machine
    program = seccomp.program(name, connection=CONNECTION, process=PROCESS)
    assert run(program, 11, I386) == KILL  # there, 11 is execve


def test_the_numbers_of_x32_are_refused(machine: tuple[str, int]) -> None:
    name, architecture = machine
    program = seccomp.program(name, connection=CONNECTION, process=PROCESS)
    assert run(program, 0x40000000 | 11, architecture) == EPERM


def test_a_processor_without_a_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("Linux", "here", "6.18", "#1", "riscv64")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(names))
    with pytest.raises(seccomp.NoSuchFilter, match="riscv64"):
        seccomp.machine()
