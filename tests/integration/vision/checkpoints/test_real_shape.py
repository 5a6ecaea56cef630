"""The default model, ViT-B-32 with openai's tag, in its real shape; the numbers are random."""

from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from core.settings import TaggingSettings
from core.vision.towers import TorchTowers
from standalone.supervision.model_choice import choose_model, is_cached


def never() -> bool:
    raise AssertionError("no hub need be asked")


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a copied snapshot of the hub's cache holds, in half precision."""
    with torch.device("meta"):
        shapes = CLIP(**open_clip.get_model_config("ViT-B-32")).state_dict()
    chance = torch.Generator().manual_seed(20261130)
    numbers = torch.empty(1 << 16).normal_(0, 0.02, generator=chance).half()
    weights = {
        name: numbers.repeat(-(-tensor.numel() // len(numbers)))[: tensor.numel()]
        .roll(at)
        .reshape(tensor.shape)
        for at, (name, tensor) in enumerate(shapes.items())
    }
    folder = tmp_path / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "any"
    folder.mkdir(parents=True)
    save_file(weights, folder / "open_clip_model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder / "open_clip_model.safetensors"


def test_the_default_model_is_found_and_is_the_same_from_cache_and_file(snapshot: Path) -> None:
    choice = choose_model("", is_cached=is_cached, is_offline=never, ask_hub=never)
    assert choice.model == "ViT-B-32"

    cached = TorchTowers(TaggingSettings(model=choice.model, device="cpu", precision="fp32"))
    activation = type(cached.image_tower.transformer.resblocks[0].mlp.gelu).__name__
    assert activation == "QuickGELU"
    assert cached.identity.startswith("ViT-B-32-quickgelu@")
    assert cached.dim == 512

    named = TaggingSettings(
        model="ViT-B-32-quickgelu", pretrained=str(snapshot), device="cpu", precision="fp32"
    )
    assert TorchTowers(named).identity == cached.identity
