"""Batch norms folded into the convolutions before them, once the weights are loaded.

At inference a batch norm multiplies and adds per channel, as the convolution before it could.
open_clip loads strictly and wants the norms' tensors, so they are folded afterwards.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A convolution and the norm that takes its output, with the norm's place in the network."""

    convolution: nn.Conv2d
    norm_name: str


def folded(network: nn.Module, size: int | tuple[int, int]) -> nn.Module:
    """Return a picture tower with its norms folded, its convolutions laid out as a CPU likes them.

    A tower without such norms stays as it is, bit by bit.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if fold_norms(network, torch.zeros(1, 3, height, width)):
        # pixels come with the channels last, so that nothing is laid out anew (1.4 times faster)
        return network.to(memory_format=torch.channels_last)
    return network


def fold_norms(network: nn.Module, pixels: Tensor) -> int:
    """Fold every norm that takes a convolution's output; return their number.

    Nothing else may take that output, as is so in every network that has norms there.

    Args:
        network: in evaluation mode; changed in place. Outputs differ by rounding alone.
        pixels: a batch for one pass, in which the pairs are seen.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return 0
    pairs = _pairs(network, pixels)
    for pair in pairs:
        norm: Any = network.get_submodule(pair.norm_name)
        _fold(pair.convolution, norm)
        parent, _, own = pair.norm_name.rpartition(".")
        setattr(network.get_submodule(parent), own, _remainder(norm))
    return len(pairs)


def _pairs(network: nn.Module, pixels: Tensor) -> list[_Pair]:
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: dict[str, _Pair] = {}

    def note_output(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output  # the tensor is kept, so that its id stays its own

    def note_input(name: str, inputs: tuple[Tensor, ...]) -> None:
        found = made.get(id(inputs[0]))
        if found is not None:
            pairs[name] = _Pair(found[0], name)

    handles = [
        module.register_forward_hook(note_output)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    handles += [
        module.register_forward_pre_hook(lambda _, inputs, name=name: note_input(name, inputs))
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    try:
        with torch.inference_mode():
            network(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return list(pairs.values())


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    convolution.weight, convolution.bias = weight, bias


def _remainder(norm: nn.Module) -> nn.Module:
    """Return what is left of a norm: timm's have an activation inside."""
    parts = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*parts) if parts else nn.Identity()
