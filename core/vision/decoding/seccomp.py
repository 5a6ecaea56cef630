"""The system calls that a decoder process may make, as a filter for Linux's seccomp.

An allow-list. What is on it: memory that is not executable, the one socket, locks and threads of
this process (libde265 decodes HEIC in a thread of its own), clocks, and the end. What only an
attacker asks for ends the process, so that it sees no further picture; everything else is refused
by EPERM, since a library that merely looks for a file must be able to go on without it.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h

# Numbers on (x86_64, aarch64): arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h.
# In the order of how often they are made.
_ALLOWED = {
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "clock_gettime": (228, 113),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigaction": (13, 134),
    "sigaltstack": (131, 132),
    "sched_yield": (24, 124),
    "gettimeofday": (96, 169),
    "clock_nanosleep": (230, 115),
    "restart_syscall": (219, 128),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getcwd": (79, 17),  # Pillow compares a copy's name, which is empty, with its source's
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_KILLING = {
    # other programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    # the network, and descriptors sent through our socket
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "recvmsg": (47, 212),
    # where the kernel's own faults were found
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "memfd_create": (319, 279),
    "personality": (135, 92),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "umount2": (166, 39),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
}
_CLONE3 = (435, 435)
_SECCOMP = {"x86_64": 317, "aarch64": 277}

_PROT_EXEC = 4
# What glibc's pthread_create asks for: a thread, which shares everything and this filter too.
_THREAD_FLAGS = 0x003D0F00
_FUTEX_COMMAND = 0x7F  # without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
_FUTEX_WAITS_AND_WAKES = (0, 1, 9, 10)  # WAIT, WAKE and both _BITSET; no requeues, no inheritance

_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # linux/bpf_common.h
_ALLOW = 0x7FFF0000  # linux/seccomp.h
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_SET_MODE_FILTER = 1
_ALL_THREADS = 1
# Kernels before 5.16 slow a filtered process down against speculative reads; there is nothing to
# read in this one that its attacker does not have.
_WITHOUT_MITIGATION = 4

_Instruction = tuple[int, int, int, int]


class NoSuchFilter(Exception):
    """There is no filter for this processor; the message names it."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def machine() -> str:
    """Return the processor's name as the kernel's tables have it.

    Raises:
        NoSuchFilter: no table is known for it.
    """
    name = os.uname().machine
    if name not in _ARCHITECTURES or sys.maxsize < 2**32:
        raise NoSuchFilter(f"no table of system calls for {name}")
    return name


def program(name: str, *, connection: int, process: int) -> bytes:
    """Return the filter for a process that talks through one socket.

    Args:
        name: the processor, as `machine` returns it.
        connection: the descriptor of the socket.
        process: its own process id, to which alone it may send signals.
    """
    column = list(_ARCHITECTURES).index(name)
    conditional = (
        ((45, 207), 0, 0xFFFFFFFF, (connection,)),  # recvfrom
        ((44, 206), 0, 0xFFFFFFFF, (connection,)),  # sendto
        ((9, 222), 2, _PROT_EXEC, (0,)),  # mmap
        ((10, 226), 2, _PROT_EXEC, (0,)),  # mprotect
        ((202, 98), 1, _FUTEX_COMMAND, _FUTEX_WAITS_AND_WAKES),  # futex
        ((56, 220), 0, 0xFFFFFFFF, (_THREAD_FLAGS,)),  # clone
        ((302, 261), 0, 0xFFFFFFFF, (0,)),  # prlimit64, of this process
        ((234, 131), 0, 0xFFFFFFFF, (process,)),  # tgkill, by which abort() ends
    )
    lines: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURES[name]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for numbers, argument, mask, values in conditional:
        lines += _only(numbers[column], _compared(argument, mask, values))
    lines += _verdicts((numbers[column] for numbers in _ALLOWED.values()), _ALLOW)
    # glibc then takes `clone`, whose flags can be looked at; those of clone3 lie in memory.
    lines += _verdicts((_CLONE3[column],), _ERRNO | errno.ENOSYS)
    lines += _verdicts((numbers[column] for numbers in _KILLING.values()), _KILL_PROCESS)
    lines.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _verdicts(numbers: Iterable[int | None], verdict: int) -> list[_Instruction]:
    lines: list[_Instruction] = []
    for number in numbers:
        if number is not None:
            lines += _only(number, [(_RETURN, 0, 0, verdict)])
    return lines


def _only(number: int, block: list[_Instruction]) -> list[_Instruction]:
    return [(_JUMP_IF_EQUAL, 0, len(block), number), *block]


def _compared(argument: int, mask: int, values: tuple[int, ...]) -> list[_Instruction]:
    """Allow the call if an argument's lower half, masked, is one of the values.

    The kernel takes no more of these arguments than their lower half (both are little-endian).
    """
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_AND, 0, 0, mask),
        *((_JUMP_IF_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def install(name: str, filter_bytes: bytes) -> None:
    """Put the filter in force for all threads of this process, for ever.

    Raises:
        OSError: the kernel refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(filter_bytes, len(filter_bytes))
    what = _Program(len(filter_bytes) // 8, ctypes.addressof(held))
    flags = _ALL_THREADS | _WITHOUT_MITIGATION
    result = libc.syscall(_SECCOMP[name], _SET_MODE_FILTER, flags, ctypes.byref(what))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if result > 0:  # the number of a thread that has a filter of its own
        raise OSError(errno.ESRCH, f"thread {result} cannot take the filter")
