"""Whether the decoders' limits fit into the memory that this process may use."""

import os
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import MIB, DecodeSettings
from core.vision.decoding.decoder import pool_limits
from core.vision.decoding.limits.machine_memory import available_bytes, needed_bytes

GIB = 1024 * MIB
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MACHINE),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
        (
            {
                "proc/self/cgroup": "0::/pods/tagging\n",
                "sys/fs/cgroup/pods/tagging/memory.max": "max\n",
                "sys/fs/cgroup/pods/memory.max": "300000000\n",
            },
            300_000_000,
        ),
        # As a container sees it: its own group is mounted, its path is the host's.
        (
            {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "200000000\n"},
            200_000_000,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/x\n",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "100000000\n",
            },
            100_000_000,
        ),
    ],
)
def test_a_control_group_may_allow_less_than_the_machine_has(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert available_bytes(written(tmp_path, files)) == expected


def test_workers_that_nobody_counted_are_as_many_as_fit() -> None:
    limits = pool_limits(DecodeSettings(), MIB, memory_bytes=4 * GIB)

    assert needed_bytes(limits) <= 4 * GIB
    assert limits.workers >= 1


def test_workers_that_do_not_fit_are_told_with_their_setting_and_how_many_would() -> None:
    with pytest.raises(ConfigurationError, match=r"^DECODE_WORKERS=8: .* 4096 MiB: \d fit$"):
        pool_limits(DecodeSettings(workers=8), MIB, memory_bytes=4 * GIB)


def test_a_large_picture_that_does_not_fit_is_told_with_its_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"^DECODE_MEMORY_BYTES=8589934592: "):
        pool_limits(DecodeSettings(memory_bytes=8 * GIB), MIB, memory_bytes=8 * GIB)


def test_one_worker_has_room_on_a_small_machine() -> None:
    settings = DecodeSettings(memory_bytes=640 * MIB)

    assert pool_limits(settings, MIB, memory_bytes=1536 * MIB).workers == 1


@pytest.mark.parametrize("memory_mib", [1024, 1536, 2048, 3072])
def test_a_small_machine_starts_without_settings_and_decodes_what_fits(memory_mib: int) -> None:
    limits = pool_limits(DecodeSettings(), MIB, memory_bytes=memory_mib * MIB)

    assert limits.workers == 1
    assert needed_bytes(limits) <= memory_mib * MIB
    assert limits.memory_bytes >= memory_mib * MIB // 3
