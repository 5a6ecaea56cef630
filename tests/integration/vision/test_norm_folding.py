"""Batch norms folded into convolutions leave the outputs as they were."""

import open_clip
import torch
from torch import nn

from core.vision.engines.norm_folding import fold_norms


def settled(network: nn.Module) -> nn.Module:
    """Return the network with norms that do something, in evaluation mode."""
    draw = torch.Generator().manual_seed(6)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_norms_with_an_activation_inside_are_folded() -> None:
    timm = __import__("timm")
    network = settled(timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0))
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(7))

    with torch.inference_mode():
        before = network(pixels)
        count = fold_norms(network, pixels[:1])
        after = network(pixels)

    assert count == 49
    assert norms(network) == 0
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.99999


def test_a_norm_that_follows_no_convolution_stays() -> None:
    network = settled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)))
    pixels = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        before = network(pixels)

        assert fold_norms(network, pixels) == 0
        assert torch.equal(network(pixels), before)


def test_a_transformer_has_nothing_to_fold() -> None:
    with torch.inference_mode():
        model = open_clip.create_model("ViT-S-32-alt", pretrained=None).eval()

    assert fold_norms(model.visual, torch.zeros(1, 3, 224, 224)) == 0
