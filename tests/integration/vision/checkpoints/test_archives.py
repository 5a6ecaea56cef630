"""openai's own files, TorchScript archives: refused with the command that converts them."""

import asyncio
import os
import pickle
import shlex
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors import safe_open
from safetensors.torch import load_file

from core.errors import ConfigurationError
from core.settings import TaggingSettings
from core.vision.checkpoints import converting, published, shapes
from core.vision.checkpoints.activation import architecture, known
from core.vision.checkpoints.identity import canonical
from core.vision.checkpoints.torchscript import (
    Archive,
    Contents,
    NotReadable,
    StoredTensor,
    checked,
    is_archive,
)
from core.vision.towers import TorchTowers
from tests.documents import ROOT
from tests.integration.vision.checkpoints import formats


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> None:
    formats.register(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return formats.archive(formats.model(), tmp_path_factory.mktemp("openai") / "tiny.pt")


def opened(model: str, **changes: Any) -> TorchTowers:
    return TorchTowers(TaggingSettings(model=model, device="cpu", precision="fp32", **changes))


def converted(file: Path, folder: Path, **changes: Any) -> converting.Converted:
    return asyncio.run(converting.convert(file, folder, **changes))


def test_an_archive_is_refused_with_the_one_command_that_converts_it(
    archive: Path, tmp_path: Path
) -> None:
    """The command is taken from the message and run; what it prints is the setting that works."""
    own = tmp_path / "clip weights" / "tiny.pt"
    own.parent.mkdir()
    own.write_bytes(archive.read_bytes())
    with pytest.raises(ConfigurationError, match="TorchScript archive") as refusal:
        opened(formats.QUICK, pretrained=str(own))
    _, _, command = str(refusal.value).partition("Convert it once: ")
    words = shlex.split(command)
    assert words[0] == "photo-archive"

    done = subprocess.run(
        [sys.executable, "-c", "from photo_archive.app import main; main()", *words[1:]],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    setting = done.stdout.splitlines()[-1]
    assert setting == f"TAGGING_MODEL=local-dir:{own.with_suffix('')}"
    towers = opened(setting.partition("=")[2])
    assert towers.identity.startswith(f"{formats.QUICK}@")
    assert type(towers.image_tower.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


def test_what_is_converted_equals_the_weights_and_says_its_activation(
    archive: Path, tmp_path: Path
) -> None:
    done = converted(archive, tmp_path / "made")

    expected = formats.state(formats.model())
    found = load_file(done.folder / "open_clip_model.safetensors")
    assert set(found) == set(expected), "no sizes among the weights"
    assert all(torch.equal(found[name].float(), each) for name, each in expected.items())
    assert {str(each.dtype) for each in found.values()} == {"torch.float16", "torch.float32"}
    with safe_open(done.folder / "open_clip_model.safetensors", "pt") as file:
        assert file.metadata()["activation"] == "quick_gelu"
    assert (done.quick_gelu, done.known_as, done.tensors) == (True, None, len(expected))
    assert done.folder.stat().st_mode & 0o055 == 0o055, "another user's process may read it"


def test_an_archive_of_plain_gelu_is_told_from_one_of_quickgelu(tmp_path: Path) -> None:
    file = formats.archive(formats.model(quick_gelu=False), tmp_path / "plain.pt")
    done = converted(file, tmp_path / "made")
    assert not done.quick_gelu
    assert opened(f"local-dir:{done.folder}").identity.startswith(f"{formats.PLAIN}@")


def test_the_converted_file_alone_brings_its_activation(archive: Path, tmp_path: Path) -> None:
    """Its metadata goes with it, wherever it is moved."""
    done = converted(archive, tmp_path / "made")
    moved = (done.folder / "open_clip_model.safetensors").rename(tmp_path / "moved.safetensors")
    assert opened(formats.PLAIN, pretrained=str(moved)).identity.startswith(f"{formats.QUICK}@")
    with pytest.raises(ConfigurationError, match=f"set TAGGING_MODEL={formats.QUICK}"):
        opened(f"{formats.PLAIN}-gelu", pretrained=str(moved))


def test_the_program_of_an_archive_is_never_run(tmp_path: Path) -> None:
    """Nor is what its pickle asks for: the reader knows tensors and nothing else."""
    harm = tmp_path / "harm"

    class Harm:
        def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
            return os.system, (f"touch {harm}",)

    file = _archive_of(pickle.dumps(Harm(), protocol=2), tmp_path / "hostile.pt")
    with pytest.raises(ConfigurationError, match="is none of a tensor's names"):
        converted(file, tmp_path / "made")
    assert not harm.exists()
    assert not (tmp_path / "made").exists()


def test_the_reader_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with all names of Python it could reach no file: that is the sandbox's doing."""
    monkeypatch.setattr(
        "core.vision.checkpoints.sealed_pickle.__name__",
        "tests.integration.vision.checkpoints.open_pickle",
    )
    monkeypatch.setattr(
        "core.vision.checkpoints.sealed_pickle.operations.__qualname__", "operations"
    )
    file = _archive_of(pickle.dumps(1), tmp_path / "any.pt")
    with pytest.raises(
        NotReadable, match=r"Operation not permitted|Permission denied|Too many open"
    ):
        converted(file, tmp_path / "made")


@pytest.mark.parametrize("damage", ["cut", "no-table", "no-numbers", "compressed", "two-tables"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(
    archive: Path, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "damaged.pt"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(file, "w") as target:
        largest = max(source.infolist(), key=lambda each: each.file_size)
        for info in source.infolist():
            name = info.filename
            if (damage == "no-table" and name.endswith("/data.pkl")) or (
                damage == "no-numbers" and info is largest
            ):
                continue
            method = zipfile.ZIP_DEFLATED if damage == "compressed" else zipfile.ZIP_STORED
            target.writestr(name, source.read(info), method)
        if damage == "two-tables":
            target.writestr("other/data.pkl", b"")
    if damage == "cut":
        file.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(ConfigurationError, match=r"damaged\.pt"):
        converted(file, tmp_path / "made")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["damaged.pt"]


def _tensor(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a", "kind": "F32", "storage": "0", "numbers": 4, "offset": 0,
        "shape": [2, 2], "strides": [2, 1], **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "F31"}, {"storage": "../../etc/passwd"}, {"numbers": -1}, {"offset": True},
        {"shape": [2, 2, 2]}, {"shape": [0, 2]}, {"strides": [-2, 1]}, {"shape": [1 << 50, 1]},
        {"shape": [9, 9]}, {"shape": "22"},
    ],
)  # fmt: skip
def test_no_answer_of_the_reader_is_believed(changes: dict[str, Any]) -> None:
    checked({"tensors": [_tensor()], "classes": {}}, Path("x"))
    with pytest.raises(NotReadable):
        checked({"tensors": [_tensor(**changes)], "classes": {}}, Path("x"))


@pytest.mark.parametrize("told", [[], {}, {"tensors": [], "classes": {}}, {"tensors": 3}])
def test_an_answer_without_tensors_is_refused(told: Any) -> None:
    with pytest.raises(NotReadable):
        checked(told, Path("x"))


def test_numbers_beyond_their_record_are_not_read(archive: Path) -> None:
    with Archive(archive) as opened_archive:
        some = next(iter(asyncio.run(opened_archive.contents()).tensors.values()))
        beyond = StoredTensor(
            some.name, some.kind, some.storage, some.numbers, some.numbers - 1, (2,), (1,)
        )
        with pytest.raises(NotReadable, match="outside"):
            opened_archive.numbers(beyond)


def test_tensors_that_share_numbers_do_not_fill_the_disk(tmp_path: Path) -> None:
    shared = torch.zeros(200_000)

    class Shares(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for each in range(20):
                self.register_buffer(f"b{each}", shared)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    file = formats.scripted(Shares(), tmp_path / "shares.pt")
    with pytest.raises(NotReadable, match="fill the disk"):
        converted(file, tmp_path / "made", quick_gelu=True)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    file = formats.scripted(torch.nn.Linear(2, 2), tmp_path / "other.pt")
    with pytest.raises(ConfigurationError, match="nothing says which activation"):
        converted(file, tmp_path / "made")
    with pytest.raises(ConfigurationError, match="not the weights of a CLIP model"):
        converted(file, tmp_path / "made", quick_gelu=True)


def test_a_folder_that_is_there_is_left_alone(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(ConfigurationError, match="--to"):
        converted(archive, tmp_path / "made")


def test_an_activation_that_the_archive_contradicts_is_refused(
    archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="trained with QuickGELU"):
        converted(archive, tmp_path / "made", quick_gelu=False)


def test_a_mixture_of_activations_says_nothing() -> None:
    assert converting.activation(Contents({}, {"a": "QuickGELU", "b": "GELU"})) is None
    assert converting.activation(Contents({}, {"a": "ReLU"})) is None


def test_other_zip_files_are_no_archives(archive: Path, tmp_path: Path) -> None:
    assert is_archive(archive)
    assert not is_archive(formats.pickled(formats.model(), tmp_path / "weights.pt"))
    assert not is_archive(formats.safetensors(formats.model(), tmp_path / "weights.safetensors"))


OPENAI = [
    (name, open_clip.get_pretrained_cfg(name, tag)["url"].split("/")[-2])
    for name, tag in open_clip.list_pretrained()
    if tag == "openai" and not name.endswith("-quickgelu")
]


@pytest.mark.parametrize(("name", "sha256"), OPENAI)
def test_openais_files_are_known_by_the_hash_in_their_address(name: str, sha256: str) -> None:
    found = published.by_hash(sha256)
    assert found == published.Published(name, "openai", quick_gelu=True)


def test_all_that_is_known_by_hash_is_known_to_open_clip() -> None:
    for sha256 in (*published._OPENAI, *published._CONVERTED):
        found = published.by_hash(sha256)
        assert found is not None
        assert len(sha256) == 64
        config = open_clip.get_pretrained_cfg(found.architecture, found.tag)
        assert bool(config.get("quick_gelu", False)) == found.quick_gelu
        meant = architecture(found.architecture)
        assert meant is not None
        assert meant.has_twin


@pytest.mark.parametrize("name", [name for name, _ in OPENAI])
def test_the_shapes_of_each_of_openais_models_give_its_configuration(name: str) -> None:
    with torch.device("meta"):
        made = CLIP(**open_clip.get_model_config(name))
    found = shapes.configuration(
        {each: tuple(tensor.shape) for each, tensor in made.state_dict().items()}
    )
    expected = open_clip.get_model_config(f"{name}-quickgelu")
    assert canonical({**found, "quick_gelu": True}) == canonical(expected)


def test_a_release_of_open_clip_is_known_by_the_digits_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(struct.pack("<Q", 7))
    monkeypatch.setattr(published, "sha256_of", lambda _: "af8dbd0c" + "0" * 56)
    assert known(file) == published.Published("ViT-B-32", "laion2b_e16", quick_gelu=False)
    monkeypatch.setattr(published, "sha256_of", lambda _: "46683a32" + "0" * 56)
    assert known(file) == published.Published("ViT-B-32", "laion400m_e32", quick_gelu=True)


def _archive_of(table: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("archive/data.pkl", table)
        made.writestr("archive/constants.pkl", b"")
    return path
