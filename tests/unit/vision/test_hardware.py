"""The choice of device and precision."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.vision.engines.hardware import choose_precision, cpu_flags


def test_bf16_is_chosen_only_where_the_processor_has_it() -> None:
    plain = frozenset({"avx2"})
    assert choose_precision("auto", "cpu", plain | {"amx_bf16"}) == "bf16"
    assert choose_precision("auto", "cpu", plain) == "fp32"
    with pytest.raises(ConfigurationError, match="TAGGING_PRECISION=bf16"):
        choose_precision("bf16", "cpu", plain)
    assert choose_precision("auto", "cuda", plain) == "fp16"


def test_processor_flags_are_read_and_may_be_missing(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor : 0\nflags\t\t: fpu avx512_bf16 sse2\n")
    assert "avx512_bf16" in cpu_flags(listed)
    assert cpu_flags(tmp_path / "none") == frozenset()
