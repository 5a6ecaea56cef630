"""Our pixels and our vectors against open_clip's own, with tiny models of random weights."""

import asyncio
import io
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException as OnnxError
from PIL import Image

from core.errors import ConfigurationError
from core.settings import TaggingSettings
from core.tags import Label
from core.vision import clip, towers
from core.vision.checkpoints.loading import load
from core.vision.checkpoints.source import WeightsSource
from core.vision.clip import ClipModel
from core.vision.decoding import pixels, sniff
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.opening import open_model
from tests.fakes import pictures
from tests.fakes.vision import HashTowers
from tests.integration.vision import tiny

LIMITS = sniff.Limits()
PHOTOS = Path(__file__).parents[3] / "../shared/data/photos-demo"
SIZES = ((640, 480), (481, 999), (33, 32), (32, 32), (31, 500), (224, 225), (1000, 20), (7, 5))
TRANSFORMS = [
    (resize_mode, interpolation, target)
    for resize_mode in ("shortest", "squash", "longest")
    for interpolation in ("bicubic", "bilinear")
    for target in ((32, 32), (48, 32))
    # open_clip 3.3 ignores the interpolation here
    if (resize_mode, interpolation, target) != ("shortest", "bilinear", (48, 32))
]


@pytest.fixture(autouse=True)
def decoders() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        pixels.prepare_libraries(LIMITS)
        yield
    Image.MAX_IMAGE_PIXELS = before


@pytest.fixture
def own_torch_threads() -> Iterator[None]:
    """Restore the process's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save_model(tmp_path_factory.mktemp("models") / "tiny")


def settings(model: str, **changes: Any) -> TaggingSettings:
    return TaggingSettings(model=model, device="cpu", precision="fp32", **changes)


def ours(data: bytes, form: PixelFormat) -> NDArray[np.uint8]:
    raw = pixels.decode(data, form, LIMITS).pixels
    return np.frombuffer(raw, np.uint8).reshape(form.height, form.width, 3)


def theirs(data: bytes, transform: Callable[[Image.Image], Any]) -> NDArray[np.uint8]:
    """Return the result of open_clip's transform without normalisation, as bytes."""
    with Image.open(io.BytesIO(data)) as image:
        tensor = transform(image)
    array: NDArray[np.uint8] = (tensor.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return array


def plain_transform(size: int | tuple[int, int], **config: Any) -> Callable[[Image.Image], Any]:
    transform: Callable[[Image.Image], Any] = open_clip.image_transform(
        size, is_train=False, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **config
    )
    return transform


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("resize_mode", "interpolation", "target"), TRANSFORMS)
def test_exact_pixels_equal_open_clip_s_own_bit_by_bit(
    size: tuple[int, int], resize_mode: str, interpolation: str, target: tuple[int, int]
) -> None:
    data = pictures.jpeg(3, size)
    form = PixelFormat(*target, resize_mode, interpolation, fill=9, fast=False)
    transform = plain_transform(
        target, resize_mode=resize_mode, interpolation=interpolation, fill_color=9
    )
    found, expected = ours(data, form), theirs(data, transform)
    if max(size) > 4 * min(size):  # the crop comes first there, and a position may round elsewhere
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    else:
        assert np.array_equal(found, expected)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the shared data set is not here")
def test_exact_pixels_of_real_photos_equal_open_clip_s_own() -> None:
    form = PixelFormat(fast=False)
    transform = plain_transform(224)
    compared = 0
    for path in sorted(PHOTOS.glob("*.jpg")):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in {"RGB", "L"} or image.getexif().get(0x0112, 1) != 1:
                continue  # open_clip does not turn pictures; we do
            if "icc_profile" in image.info:
                continue  # nor does it look at their colour profiles
        assert np.array_equal(ours(data, form), theirs(data, transform)), path.name
        compared += 1
    assert compared >= 30


@pytest.mark.usefixtures("own_torch_threads")
@pytest.mark.parametrize("threads", [1, 2])
async def test_vectors_equal_open_clip_s_own(tiny_model: str, threads: int) -> None:
    model, _, transform = open_clip.create_model_and_transforms(tiny_model)
    model.eval()
    files = [pictures.jpeg(seed, (200 + 9 * seed, 150)) for seed in range(11)]
    with torch.inference_mode():
        stack = torch.stack([transform(Image.open(io.BytesIO(data))) for data in files])
        expected = model.encode_image(stack, normalize=True).numpy()
    async with open_model(settings(tiny_model, torch_threads=threads)) as one:
        form = one.pixel_format(fast=False)
        found = await one.encode(np.stack([ours(data, form) for data in files]))
        assert one.dim == 32
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.usefixtures("own_torch_threads")
def test_shares_of_the_processor_do_not_become_the_process_s_number(tiny_model: str) -> None:
    with ThreadPoolExecutor(1) as loader:
        four = settings(tiny_model, torch_threads=4)
        one = loader.submit(towers.TorchTowers, four).result()
        loader.submit(one.encode_pixels, np.zeros((32, 32, 32, 3), np.uint8)).result()
        assert loader.submit(torch.get_num_threads).result() == 4
    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(torch.get_num_threads).result() == 4


async def test_label_vectors_equal_open_clip_s_own_zero_shot_classifier(tiny_model: str) -> None:
    model = open_clip.create_model(tiny_model).eval()
    tokenizer = open_clip.get_tokenizer(tiny_model)
    names, templates = ["cat", "Victory Day", "еда"], ["a photo of {}", "a drawing of a {}"]
    formats = [lambda name, text=text: text.replace("{}", name) for text in templates]
    expected = open_clip.build_zero_shot_classifier(
        model, tokenizer, names, formats, num_classes_per_batch=None
    )
    async with open_model(settings(tiny_model)) as one:
        found = await one.text_features([Label(name) for name in names], templates)
    assert found == pytest.approx(expected.T.detach().numpy(), abs=1e-6)


async def test_the_identity_is_architecture_and_weights_and_nothing_of_this_host(
    tiny_model: str, tmp_path: Path
) -> None:
    elsewhere = tiny.save_model(tmp_path / "deep" / "other-name")
    changed = tiny.save_model(tmp_path / "other" / "tiny", {**tiny.CLIP, "embed_dim": 48})
    names = []
    for folder in (tiny_model, elsewhere, changed):
        async with open_model(settings(folder)) as one:
            names.append(one.identity)
    assert names[0] == names[1] != names[2]
    name, _, weights = names[0].partition("@")
    assert name == "clip"
    assert len(weights) == 16
    assert int(weights, 16) >= 0


async def test_a_siglip_model_brings_its_bias(tmp_path: Path) -> None:
    folder = tiny.save_model(
        tmp_path / "siglip",
        tiny.SIGLIP,
        {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    )
    async with open_model(settings(folder)) as one:
        assert one.logit_bias == pytest.approx(-10.0)
        assert one.pixel_format(fast=True) == PixelFormat(tiny.SIZE, tiny.SIZE, "squash", fast=True)


async def test_a_checkpoint_file_fills_a_named_architecture(tmp_path: Path) -> None:
    open_clip.add_model_config(_config_file(tmp_path))
    model = open_clip.create_model("tiny-for-file-test")
    file = tmp_path / "weights.pt"
    torch.save({"state_dict": model.state_dict()}, file)
    async with open_model(settings("tiny-for-file-test", pretrained=str(file))) as one:
        assert one.identity.startswith("tiny-for-file-test@")


def _config_file(folder: Path) -> Path:
    tiny.save_model(folder)
    text = (folder / "open_clip_config.json").read_text()
    file = folder / "tiny-for-file-test.json"
    file.write_text(text.removeprefix('{"model_cfg": ').partition(', "preprocess_cfg"')[0])
    return file


def test_the_wrong_activation_is_an_error_and_not_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Run open_clip's own check, should a source ever name the wrong configuration."""
    file = tmp_path / "weights.pt"
    torch.save({}, file)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(file))
    wrong = WeightsSource("ViT-B-32", "ViT-B-32", Path("openai"))
    with pytest.raises(ConfigurationError, match="QuickGELU mismatch"):
        load(wrong)


@pytest.mark.parametrize(
    ("model", "pretrained", "told"),
    [
        ("no-such-architecture", "openai", "no-such-architecture"),
        ("ViT-B-32", "no-such-tag", "no-such-tag"),
        ("ViT-B-32", "", "TAGGING_PRETRAINED"),
        ("local-dir:no/such/folder", "", "no/such/folder"),
        ("local-dir:{empty}", "", "no weights"),
        ("local-dir:{bare}", "", "no weights"),
        ("local-dir:{nameless}", "", "open_clip_config.json"),
        ("local-dir:{broken}", "", "broken"),
    ],
)
async def test_a_model_that_cannot_be_loaded_ends_with_a_message_that_names_the_settings(
    model: str, pretrained: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("bare", "broken", "nameless"):
        tiny.save_model(tmp_path / name)
    (tmp_path / "nameless" / "open_clip_config.json").unlink()
    (tmp_path / "bare" / "open_clip_model.safetensors").unlink()
    (tmp_path / "broken" / "open_clip_model.safetensors").write_bytes(b"\0" * 100)
    folders = {name: tmp_path / name for name in ("empty", "bare", "broken", "nameless")}
    wanted = settings(model.format(**folders), pretrained=pretrained)
    with pytest.raises(ConfigurationError, match="TAGGING_") as refusal:
        async with open_model(wanted):
            pass
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"device": "cuda:7"}, "TAGGING_DEVICE=cuda:7"),
        ({"device": "tpu"}, "TAGGING_DEVICE=tpu"),
        ({"device": "cuda:x"}, "TAGGING_DEVICE=cuda:x"),
        ({"device": "cpu", "precision": "fp16"}, "TAGGING_PRECISION=fp16"),
    ],
)
async def test_devices_and_precisions_that_are_not_there_are_refused(
    wanted: dict[str, Any], told: str, tiny_model: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        async with open_model(TaggingSettings(model=tiny_model, **wanted)):
            pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (OnnxError("Failed to allocate memory for requested buffer of size 9"), True),
        (OnnxError("Unexpected input data type"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, *, told: bool) -> None:
    assert towers.is_out_of_memory(error) is told


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
async def test_half_precision_on_a_gpu_stays_near_the_cpu(tiny_model: str) -> None:
    batch = np.random.default_rng(1).integers(0, 256, (13, tiny.SIZE, tiny.SIZE, 3), np.uint8)
    async with open_model(settings(tiny_model)) as cpu:
        expected = await cpu.encode(batch)
    async with open_model(TaggingSettings(model=tiny_model, device="cuda")) as gpu:
        found = await gpu.encode(batch)
    assert (expected * found).sum(axis=1).min() > 0.999


class ImageModelContract:
    """The contract of the tagger's model, for the real one and the double."""

    async def test_vectors_are_unit_length_and_belong_to_their_rows(self, model: ClipModel) -> None:
        form = model.pixel_format(fast=False)
        batch = np.random.default_rng(3).integers(
            0, 256, (21, form.height, form.width, 3), np.uint8
        )
        together = await model.encode(batch)
        assert together.shape == (21, model.dim)
        assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(21), abs=1e-5)
        for at in (0, 7, 20):
            alone = await model.encode(batch[at : at + 1])
            assert alone[0] == pytest.approx(together[at], abs=1e-5)

    async def test_labels_are_unit_length_and_unlike(self, model: ClipModel) -> None:
        rows = await model.text_features([Label("cat"), Label("dog")], clip.DEFAULT_TEMPLATES)
        assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(2), abs=1e-5)
        assert not np.allclose(rows[0], rows[1])

    async def test_callers_at_once_get_their_own_vectors(self, model: ClipModel) -> None:
        form = model.pixel_format(fast=False)
        random = np.random.default_rng(4)
        batches = [
            random.integers(0, 256, (3, form.height, form.width, 3), np.uint8) for _ in range(9)
        ]
        found = await asyncio.gather(*(model.encode(batch) for batch in batches))
        for batch, rows in zip(batches, found, strict=True):
            assert rows == pytest.approx(await model.encode(batch), abs=1e-5)


class TestClipModel(ImageModelContract):
    @pytest.fixture
    async def model(self, tiny_model: str) -> AsyncIterator[ClipModel]:
        async with open_model(settings(tiny_model)) as one:
            yield one


class TestModelOfHashes(ImageModelContract):
    @pytest.fixture
    async def model(self) -> AsyncIterator[ClipModel]:
        with ThreadPoolExecutor(1) as executor:
            yield ClipModel(
                HashTowers(), executor, max_batch=8, is_out_of_memory=towers.is_out_of_memory
            )
