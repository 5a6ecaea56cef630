"""The choice of `auto`, with engines of known speed."""

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from core.vision.engines import choosing
from core.vision.ports import Towers
from tests.fakes.vision import HashTowers


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedTowers(HashTowers):
    """Towers that advance the clock by a fixed time for each picture."""

    def __init__(self, clock: Clock, per_picture_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._per_picture_s = per_picture_s

    def encode_pixels(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._clock.now += self._per_picture_s * len(batch)
        return super().encode_pixels(batch)


def chosen(clock: Clock, **per_picture_s: float) -> str:
    made: dict[str, Towers] = {
        name.replace("_", "-"): TimedTowers(clock, seconds)
        for name, seconds in per_picture_s.items()
    }
    return choosing._measured(made, clock)


@pytest.mark.parametrize(
    ("bf16_s", "int8_s", "name"),
    [
        (0.112, 0.100, "torch-fp32"),  # bf16 is slower, though the processor lists it
        (0.050, 0.100, "torch-bf16"),
        (0.098, 0.100, "torch-fp32"),  # 2 % are too little
        (0.112, 0.050, "onnx-int8"),
        (0.112, 0.090, "torch-fp32"),  # 11 % are too little for another identity
        (0.050, 0.045, "torch-bf16"),
    ],
)
def test_the_quickest_wins_if_it_is_quicker_by_what_its_choice_costs(
    bf16_s: float, int8_s: float, name: str
) -> None:
    assert chosen(Clock(), torch_fp32=0.1, torch_bf16=bf16_s, onnx_int8=int8_s) == name


def test_a_slow_model_delays_the_start_by_little_more_than_the_budget() -> None:
    clock = Clock()
    chosen(clock, torch_fp32=0.4, torch_bf16=0.8)
    # a warm-up and one picture each, however long; no batch would end in time
    assert clock.now == pytest.approx(2 * (0.4 + 0.8))


def test_the_choice_is_logged_with_its_figures() -> None:
    with capture_logs() as logged:
        chosen(Clock(), torch_fp32=0.1, onnx_int8=0.05)
    [said] = logged
    assert said["event"] == "engine_chosen"
    assert said["engine"] == "onnx-int8"
    assert said["images_per_s"] == {"torch-fp32": 10.0, "onnx-int8": 20.0}
    assert said["margins"] == choosing.MARGINS
    assert 0 < said["took_s"] <= choosing.PROBE_BUDGET_S
