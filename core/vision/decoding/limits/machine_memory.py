"""How much memory this process may use, and whether the decoders' limits fit into it."""

import os
from dataclasses import replace
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import MIB
from core.vision.decoding.worker_process import PoolLimits

_ROOT = Path("/")


def available_bytes(root: Path = _ROOT) -> int:
    """Return the machine's memory, or less where a control group allows less.

    Args:
        root: where `proc` and `sys` are mounted, for tests.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_group_limits(root)])


def _group_limits(root: Path) -> list[int]:
    """Return the limits of our control group and of those above it, of both versions."""
    mounted = root / "sys/fs/cgroup"
    limits: list[int] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, name = (
            (mounted / "memory", "memory.limit_in_bytes")
            if controllers
            else (mounted, "memory.max")
        )
        group = folder / path.strip("/")
        # In a container the path may be the host's, under which nothing is mounted here.
        for place in {folder, *(one for one in (group, *group.parents) if folder in one.parents)}:
            limit = _text(place / name).strip()
            if limit.isdecimal():  # "max" is no limit
                limits.append(int(limit))
    return limits


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def needed_bytes(limits: PoolLimits) -> int:
    """Return the address space of all processes that a pool may have at once."""
    ordinary = (limits.workers + limits.apart) * limits.ordinary_bytes
    has_larger = limits.memory_bytes > limits.ordinary_bytes
    return ordinary + (limits.memory_bytes if has_larger else 0)


def fitting_workers(limits: PoolLimits, memory_bytes: int) -> int:
    """Return how many of the workers fit into the memory; 0: not even one."""
    workers = limits.workers
    while workers and needed_bytes(replace(limits, workers=workers)) > memory_bytes:
        workers -= 1
    return workers


def fitting_memory(limits: PoolLimits, memory_bytes: int) -> int:
    """Return the address space that a large picture may have beside the ordinary decoders."""
    ordinary = limits.workers + limits.apart
    return max(memory_bytes // (ordinary + 1), memory_bytes - ordinary * limits.ordinary_bytes)


def check_fit(limits: PoolLimits, memory_bytes: int) -> None:
    """Raise where the limits of all decoders together exceed the memory.

    Raises:
        ConfigurationError: says which setting is too high.
    """
    fitting = fitting_workers(limits, memory_bytes)
    if fitting == limits.workers:
        return
    sentence = (
        f"the limits of all decoders add up to {_mib(needed_bytes(limits))} MiB,"
        f" and this process may use {_mib(memory_bytes)} MiB"
    )
    if fitting:
        raise ConfigurationError(f"DECODE_WORKERS={limits.workers}: {sentence}: {fitting} fit")
    raise ConfigurationError(f"DECODE_MEMORY_BYTES={limits.memory_bytes}: {sentence}")


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)
