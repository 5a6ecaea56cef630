"""The ways in which weights come: each loads, with its activation, as the same model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from core.errors import ConfigurationError
from core.settings import TaggingSettings
from core.vision.checkpoints import published
from core.vision.checkpoints.activation import QUICK, architecture, settled
from core.vision.checkpoints.identity import canonical, name_of
from core.vision.towers import DEMO_FOLDER, TorchTowers
from tests.integration.vision import tiny
from tests.integration.vision.checkpoints import formats

#: A tag of the tiny architecture, as open_clip has them of its own.
REPOSITORY = "someone/tiny"
TAG = {"hf_hub": f"{REPOSITORY}/", "url": "", "quick_gelu": True}
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD

Way = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> None:
    formats.register(tmp_path_factory.mktemp("configs"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline, and a tag that leads there."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tag = {**TAG, "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    for name in (formats.PLAIN, formats.QUICK):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"openai": tag})
    return folder


def opened(**settings: Any) -> TorchTowers:
    return TorchTowers(TaggingSettings(device="cpu", precision="fp32", **settings))


def activation(towers: TorchTowers) -> str:
    return type(towers.image_tower.transformer.resblocks[0].mlp.gelu).__name__


def snapshot(folder: Path, *, revision: str = "a" * 40, ref: bool = True) -> Path:
    """Make a repository in the hub's cache as the hub leaves it, but for the weights."""
    repository = folder / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    found = repository / "snapshots" / revision
    found.mkdir(parents=True)
    if ref:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
    return found


def as_the_hub_leaves_it(folder: Path) -> dict[str, str]:
    found = snapshot(folder)
    blob = found.parents[1] / "blobs" / ("b" * 64)
    formats.safetensors(formats.model(), blob)
    (found / "open_clip_model.safetensors").symlink_to(blob)
    return {"model": formats.PLAIN, "pretrained": "openai"}


def copied_snapshot(folder: Path) -> dict[str, str]:
    formats.safetensors(
        formats.model(), snapshot(folder, ref=False) / "open_clip_model.safetensors"
    )
    return {"model": formats.PLAIN, "pretrained": "openai"}


def cached_bin(folder: Path) -> dict[str, str]:
    formats.pickled(formats.model(), snapshot(folder) / "open_clip_pytorch_model.bin")
    return {"model": formats.PLAIN, "pretrained": "openai"}


def repository_by_name(folder: Path) -> dict[str, str]:
    formats.folder(formats.model(), snapshot(folder))
    return {"model": f"hf-hub:{REPOSITORY}"}


def local_dir(folder: Path) -> dict[str, str]:
    return {"model": f"local-dir:{formats.folder(formats.model(), folder / 'some name')}"}


def safetensors_file(folder: Path) -> dict[str, str]:
    file = formats.safetensors(formats.model(), folder / "vit.safetensors")
    return {"model": formats.QUICK, "pretrained": str(file)}


def half_precision_file(folder: Path) -> dict[str, str]:
    file = formats.half(formats.model(), folder / "half.safetensors")
    return {"model": formats.QUICK, "pretrained": str(file)}


def bin_file(folder: Path) -> dict[str, str]:
    file = formats.pickled(formats.model(), folder / "vit.bin")
    return {"model": formats.QUICK, "pretrained": str(file)}


def training_checkpoint(folder: Path) -> dict[str, str]:
    file = formats.training_checkpoint(formats.model(), folder / "epoch_3.pt")
    return {"model": formats.QUICK, "pretrained": str(file)}


def file_that_notes_its_activation(folder: Path) -> dict[str, str]:
    noted = {"activation": "quick_gelu"}
    file = formats.safetensors(formats.model(), folder / "noted.safetensors", noted)
    return {"model": formats.PLAIN, "pretrained": str(file)}


def file_beside_its_configuration(folder: Path) -> dict[str, str]:
    found = formats.folder(formats.model(), folder / "beside")
    return {"model": formats.PLAIN, "pretrained": str(found / "open_clip_model.safetensors")}


WAYS: list[Way] = [
    as_the_hub_leaves_it, copied_snapshot, cached_bin, repository_by_name, local_dir,
    safetensors_file, half_precision_file, bin_file, training_checkpoint,
    file_that_notes_its_activation, file_beside_its_configuration,
]  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The identity of the model when it comes in a folder."""
    return opened(**local_dir(tmp_path_factory.mktemp("expected"))).identity


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_leads_to_the_same_model_with_its_activation(
    way: Way, tmp_path: Path, expected: str
) -> None:
    towers = opened(**way(tmp_path))
    assert activation(towers) == "QuickGELU"
    assert towers.identity == expected
    assert towers.identity.startswith(f"{formats.QUICK}@")


def test_other_weights_and_another_activation_are_another_model(
    tmp_path: Path, expected: str
) -> None:
    other = formats.folder(formats.model(seed=1), tmp_path / "other")
    plain = formats.folder(formats.model(), tmp_path / "plain", quick_gelu=False)
    normalised = formats.folder(formats.model(), tmp_path / "normalised")
    (normalised / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": {**formats.CONFIG, "quick_gelu": True},
                "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
            }
        )
    )
    found = {opened(model=f"local-dir:{each}").identity for each in (other, plain, normalised)}
    assert len(found | {expected}) == 4


def test_defaults_that_a_configuration_spells_out_change_nothing(
    tmp_path: Path, expected: str
) -> None:
    folder = formats.folder(formats.model(), tmp_path / "wordy")
    config = {
        **formats.CONFIG,
        "quick_gelu": True,
        "custom_text": False,
        "vision_cfg": {**formats.VISION, "head_width": 64, "mlp_ratio": 4.0, "patch_dropout": 0.5},
    }
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": list(MEAN), "std": list(STD)}})
    )
    assert opened(model=f"local-dir:{folder}").identity == expected


def test_a_picture_tower_of_timm_has_no_twin_and_needs_none(tmp_path: Path) -> None:
    config = {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 32,
            "timm_model_name": "resnet10t",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": tiny.CLIP["text_cfg"],
    }
    first = opened(model=tiny.save_model(tmp_path / "one", config))
    second = opened(model=tiny.save_model(tmp_path / "two", config))
    assert first.identity == second.identity
    assert first.identity.startswith("resnet10t@")


def test_a_copy_of_the_bundled_model_is_the_bundled_model(tmp_path: Path) -> None:
    shutil.copytree(DEMO_FOLDER, tmp_path / "copy")
    assert opened(model=f"local-dir:{tmp_path / 'copy'}").identity == opened(model="demo").identity


def test_a_bare_file_whose_activation_nothing_says_is_refused_with_both_names(
    tmp_path: Path,
) -> None:
    file = formats.safetensors(formats.model(), tmp_path / "vit.safetensors")
    with pytest.raises(ConfigurationError) as refusal:
        opened(model=formats.PLAIN, pretrained=str(file))
    assert f"TAGGING_MODEL={formats.QUICK} or TAGGING_MODEL={formats.PLAIN}-gelu" in str(
        refusal.value
    )


@pytest.mark.parametrize(
    ("model", "found"), [(formats.QUICK, "QuickGELU"), (f"{formats.PLAIN}-gelu", "GELU")]
)
def test_whoever_names_the_activation_gets_it(model: str, found: str, tmp_path: Path) -> None:
    file = formats.safetensors(formats.model(), tmp_path / "vit.safetensors")
    assert activation(opened(model=model, pretrained=str(file))) == found


def test_openais_weights_never_load_as_gelu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are known by their hash, whatever the file is called."""
    file = formats.safetensors(formats.model(), tmp_path / "mine.safetensors")
    sha256 = published.sha256_of(file)
    monkeypatch.setitem(published._CONVERTED, sha256, (formats.PLAIN, "openai", True))
    assert activation(opened(model=formats.PLAIN, pretrained=str(file))) == "QuickGELU"
    with pytest.raises(ConfigurationError, match=f"set TAGGING_MODEL={formats.QUICK}"):
        opened(model=f"{formats.PLAIN}-gelu", pretrained=str(file))
    with pytest.raises(ConfigurationError, match=f"set TAGGING_MODEL={formats.PLAIN}$"):
        opened(model="ViT-B-32", pretrained=str(file))

    folder = formats.folder(formats.model(), tmp_path / "folder", quick_gelu=None)
    shutil.copy(file, folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigurationError, match='says "quick_gelu": false'):
        opened(model=f"local-dir:{folder}")


def test_a_folder_that_contradicts_its_weights_metadata_is_refused(tmp_path: Path) -> None:
    folder = formats.folder(formats.model(), tmp_path / "folder")
    formats.safetensors(
        formats.model(), folder / "open_clip_model.safetensors", {"activation": "gelu"}
    )
    with pytest.raises(ConfigurationError, match='"quick_gelu": true, but'):
        opened(model=f"local-dir:{folder}")


def test_a_configuration_of_another_architecture_beside_a_file_says_nothing(
    tmp_path: Path,
) -> None:
    file = formats.safetensors(formats.model(), tmp_path / "vit.safetensors")
    other = {**formats.CONFIG, "embed_dim": 64, "quick_gelu": True}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": other}))
    with pytest.raises(ConfigurationError, match="nothing in"):
        opened(model=formats.PLAIN, pretrained=str(file))


def test_a_home_is_found_by_its_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    formats.safetensors(formats.model(), tmp_path / "vit.safetensors")
    formats.folder(formats.model(), tmp_path / "folder")
    file = opened(model=formats.QUICK, pretrained="~/vit.safetensors")
    assert opened(model="local-dir:~/folder").identity == file.identity


@pytest.mark.parametrize(
    ("model", "pretrained", "told"),
    [
        (formats.QUICK, "{tmp}", "TAGGING_MODEL=local-dir:{tmp}"),
        (formats.QUICK, "{tmp}/none.safetensors", "there is no file {tmp}/none.safetensors"),
        (formats.QUICK, "~nobody-here/vit.pt", "there is no file"),
        (formats.PLAIN, "laion9b", "Known are: openai"),
        (formats.PLAIN, "openai", "HF_HUB_OFFLINE forbids asking"),
        (f"hf-hub:{REPOSITORY}", "", "HF_HUB_OFFLINE forbids asking"),
        ("ViT-B-23", "openai", "is ViT-B-32"),
        ("local-dir:{tmp}/none", "", "there is no such folder"),
        ("local-dir:{tmp}", "", "no weights"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_hint(
    model: str, pretrained: str, told: str, tmp_path: Path
) -> None:
    places = {"tmp": tmp_path}
    with pytest.raises(ConfigurationError) as refusal:
        opened(model=model.format(**places), pretrained=pretrained.format(**places))
    assert told.format(**places) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = formats.safetensors(formats.model(), tmp_path / "vit.safetensors")

    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))  # root may read everything

    monkeypatch.setattr(published, "sha256_of", forbidden)
    with pytest.raises(ConfigurationError, match=r"Permission denied.*vit\.safetensors"):
        opened(model=formats.QUICK, pretrained=str(file))


def test_a_tag_wins_over_a_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("openai").mkdir()
    opened(**as_the_hub_leaves_it(tmp_path))
    formats.safetensors(formats.model(), tmp_path / "mine")
    with pytest.raises(ConfigurationError, match="nothing in"):
        opened(model=formats.PLAIN, pretrained="mine")


def test_weights_of_an_architecture_with_two_ways_of_pictures_are_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {
        name: {"hf_hub": "a/b/", "quick_gelu": True, "mean": mean, "std": STD}
        for name, mean in (("one", MEAN), ("two", (0.5, 0.5, 0.5)))
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, formats.PLAIN, tags)
    file = formats.safetensors(formats.model(), tmp_path / "vit.safetensors")
    with pytest.raises(ConfigurationError, match="normalised in 2 ways"):
        opened(model=formats.QUICK, pretrained=str(file))


def test_a_file_gets_the_pictures_that_its_architecture_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SigLIP, say: a bare file of it was given CLIP's mean and deviation without a word."""
    half = (0.5, 0.5, 0.5)
    way = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "squash"}
    tags = {"webli": {"hf_hub": "a/b/", "quick_gelu": True, **way}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, formats.PLAIN, tags)
    file = formats.safetensors(formats.model(), tmp_path / "vit.safetensors")
    towers = opened(model=formats.QUICK, pretrained=str(file))
    assert towers.normalisation == (half, half)
    assert towers.pixel_format(fast=True).resize_mode == "squash"


def test_tensors_named_as_transformers_does_are_recognised(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    torch.save({"vision_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(2)}, file)
    with pytest.raises(ConfigurationError, match="names that `transformers` gives"):
        opened(model=formats.QUICK, pretrained=str(file))


def test_each_tag_of_open_clip_gets_the_activation_that_it_was_trained_with() -> None:
    for name, tag in open_clip.list_pretrained():
        meant = architecture(name)
        assert meant is not None, name
        quick_gelu = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
        if not meant.has_twin:
            continue
        found = settled(meant, f"{name}/{tag}", wanted=quick_gelu)
        config = open_clip.get_model_config(found)
        assert bool(config.get("quick_gelu", False)) == quick_gelu, (name, tag)


def test_no_two_architectures_are_taken_for_one_another() -> None:
    names = [name for name in open_clip.list_models() if not name.startswith("MobileCLIP2")]
    assert len({json.dumps(canonical(open_clip.get_model_config(each))) for each in names}) == len(
        names
    )
    assert name_of(open_clip.get_model_config("ViT-B-32-quickgelu")) == f"ViT-B-32{QUICK}"
