"""Real engines: int8 beside fp32, its gate, and the choice between them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from structlog.testing import capture_logs

from core.errors import ConfigurationError
from core.settings import TaggingSettings
from core.vision.engines import agreement, choosing, quantising
from core.vision.engines.gate_pictures import PROMPTS, gate_pictures
from core.vision.engines.onnx_towers import OnnxTowers
from core.vision.opening import open_model
from core.vision.ports import Towers
from core.vision.towers import TorchTowers
from tests.integration.vision import tiny


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def full() -> TorchTowers:
    return TorchTowers(settings(Path("unused"), engine="torch"))


@pytest.fixture(scope="module")
def int8(cache: Path) -> Towers:
    return choosing.open_towers(settings(cache, engine="onnx-int8"))


@pytest.fixture(scope="module")
def pictures(full: TorchTowers) -> NDArray[np.uint8]:
    form = full.pixel_format(fast=False)
    return gate_pictures(form.height, form.width)


def settings(cache: Path, **changes: Any) -> TaggingSettings:
    chosen: dict[str, Any] = {
        "model": "demo",
        "device": "cpu",
        "precision": "fp32",
        "torch_threads": 2,
    }
    return TaggingSettings(engine_cache=cache, **(chosen | changes))


def save_outlier_model(folder: Path) -> str:
    """Write a model that works in fp32 and fails in int8.

    In each block one input channel is far larger than the others, and its weights are zero. Large
    transformers have such outliers, and int8's scale follows the largest value.
    """
    name = tiny.save_model(folder)
    file = folder / "open_clip_model.safetensors"
    weights = load_file(file)
    for layer in range(2):
        block = f"visual.transformer.resblocks.{layer}"
        weights[f"{block}.ln_1.bias"][5] = 1e5
        weights[f"{block}.attn.in_proj_weight"][:, 5] = 0
        weights[f"{block}.ln_2.bias"][5] = 1e5
        weights[f"{block}.mlp.c_fc.weight"][:, 5] = 0
    save_file(weights, file)
    return name


def test_int8_sees_what_fp32_sees(
    full: TorchTowers, int8: Towers, pictures: NDArray[np.uint8]
) -> None:
    found = agreement.compare(
        full.encode_pixels(pictures), int8.encode_pixels(pictures), full.encode_texts(PROMPTS)
    )
    assert found.pictures >= 200
    assert found.problem is None
    assert not np.array_equal(full.encode_pixels(pictures[:8]), int8.encode_pixels(pictures[:8]))


def test_the_gate_shows_the_model_different_things(
    full: TorchTowers, pictures: NDArray[np.uint8]
) -> None:
    best = (full.encode_pixels(pictures) @ full.encode_texts(PROMPTS).T).argmax(axis=1)
    assert len(set(best.tolist())) >= 5
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_vectors_of_unlike_engines_have_unlike_identities(full: TorchTowers, int8: Towers) -> None:
    assert int8.identity == f"{full.identity}+int8.1"
    assert int8.dim == full.dim


def test_a_picture_s_vector_does_not_depend_on_its_neighbours(
    int8: Towers, pictures: NDArray[np.uint8]
) -> None:
    together = int8.encode_pixels(pictures[:24])
    assert together.shape == (24, int8.dim)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    backwards = int8.encode_pixels(np.ascontiguousarray(pictures[23::-1]))
    assert np.array_equal(backwards[::-1], together)
    assert np.array_equal(int8.encode_pixels(pictures[7:8])[0], together[7])


def test_prompts_are_torch_s(full: TorchTowers, int8: Towers) -> None:
    assert np.array_equal(int8.encode_texts(["a cat"]), full.encode_texts(["a cat"]))


def test_the_second_start_builds_nothing(cache: Path, int8: Towers) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    again = choosing.open_towers(settings(cache, engine="onnx-int8"))
    assert again.identity == int8.identity
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert len(before) == 3


def test_another_architecture_with_the_same_weights_has_another_key(tmp_path: Path) -> None:
    quick = {**tiny.CLIP, "quick_gelu": True}
    names = [
        tiny.save_model(tmp_path / at / "one", it) for at, it in (("a", tiny.CLIP), ("b", quick))
    ]
    one, other = (TorchTowers(settings(tmp_path, model=name, engine="torch")) for name in names)
    assert quantising.cache_key(one) != quantising.cache_key(other)


def test_a_model_that_int8_spoils_is_refused_and_stays_refused(
    tmp_path: Path,
) -> None:
    wanted = settings(
        tmp_path / "engines", model=save_outlier_model(tmp_path / "outlier"), engine="onnx-int8"
    )
    with capture_logs() as logged:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="least cosine"):
                choosing.open_towers(wanted)
    assert [one["event"] for one in logged].count("engine_quantising") == 1
    assert not list((tmp_path / "engines").rglob("*.onnx"))

    with capture_logs() as logged:
        chosen = choosing.open_towers(
            wanted.model_copy(update={"engine": "auto", "allow_int8": True})
        )
    assert isinstance(chosen, TorchTowers)
    [warning] = [each for each in logged if each["event"] == "engine_refused"]
    assert warning["log_level"] == "warning"
    assert "least cosine" in warning["reason"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "cuda"}, "TAGGING_DEVICE=cuda"),
        ({"precision": "bf16"}, "TAGGING_PRECISION=bf16"),
        ({"engine_cache": Path("/proc/engines")}, "TAGGING_ENGINE_CACHE=/proc/engines"),
    ],
)
def test_settings_that_int8_cannot_keep_are_refused(
    changes: dict[str, Any], told: str, cache: Path
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        choosing.open_towers(settings(cache, engine="onnx-int8").model_copy(update=changes))


def test_auto_never_takes_int8_without_leave(cache: Path) -> None:
    assert isinstance(choosing.open_towers(settings(cache, engine="auto")), TorchTowers)


def test_auto_takes_the_quicker_one_and_says_why(
    cache: Path, int8: Towers, full: TorchTowers
) -> None:
    with capture_logs() as logged:
        chosen = choosing.open_towers(settings(cache, engine="auto", allow_int8=True))
    [said] = [each for each in logged if each["event"] == "engine_chosen"]
    rates = said["images_per_s"]
    assert set(rates) == {"torch-fp32", "onnx-int8"}
    quicker = rates["onnx-int8"] / choosing.MARGINS["onnx-int8"] > rates["torch-fp32"]
    assert said["engine"] == ("onnx-int8" if quicker else "torch-fp32")
    assert isinstance(chosen, OnnxTowers) is quicker
    assert chosen.identity == (int8 if quicker else full).identity


def test_measuring_leaves_the_chosen_precision_s_vectors_alone(
    full: TorchTowers, pictures: NDArray[np.uint8]
) -> None:
    before = full.encode_pixels(pictures[:8])
    twin = full.in_precision("fp32")
    twin.drop_image_tower()
    assert np.array_equal(full.encode_pixels(pictures[:8]), before)


@pytest.fixture(scope="module")
async def opened(cache: Path, int8: Towers) -> AsyncIterator[tuple[str, Any]]:
    async with open_model(settings(cache, engine="onnx-int8")) as model:
        yield int8.identity, model


async def test_the_model_of_the_process_runs_on_the_engine_asked_for(
    opened: tuple[str, Any], int8: Towers, pictures: NDArray[np.uint8]
) -> None:
    identity, model = opened
    assert model.identity == identity
    assert np.array_equal(await model.encode(pictures[:5]), int8.encode_pixels(pictures[:5]))


@pytest.mark.parametrize(
    ("wanted", "native", "given"),
    [
        ("auto", True, ("fp32", "bf16")),
        ("auto", False, ("fp32",)),
        ("fp32", True, ("fp32",)),
        ("bf16", True, ("bf16",)),
    ],
)
def test_precisions_measured_are_those_the_processor_has(
    wanted: str, *, native: bool, given: tuple[str, ...]
) -> None:
    assert choosing.precisions(wanted, native_bf16=native) == given
