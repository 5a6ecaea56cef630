"""Random augmentation of whole batches, computed on tensors.

The steps, in this order: crop, mirror, colour, sharpness, compression, erasing, mixing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

DETAIL_SIDE = 64  # px; half of the pictures have no more, so no picture may show more
MIN_AREA = 0.35  # of the picture; smaller crops lose the subject
ASPECT = 4 / 3  # largest stretch of a crop
JITTER = 0.3  # brightness, contrast and saturation: 1 +- JITTER
GREY_SHARE = 0.05
ERASE_SHARE = 0.1
MIX_SHARE = 0.25  # share of the batches; half of these blended, half pasted. 0.6 underfitted
SHARPNESS_SHARE = 0.8
SOFTEST, SHARPEST = -0.9, 1.5  # factors of the detail beyond a 3 x 3 mean, which is added
COMPRESS_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Mix:
    """The mix of a batch: each picture keeps the share `kept`, the rest comes from `partner`."""

    partner: Tensor
    kept: float


def _uniform(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return torch.rand(count, generator=draw) * (high - low) + low


def random_crops(canvas: Tensor, sizes: Tensor, side: int, draw: torch.Generator) -> Tensor:
    """Return random resized crops, half of them mirrored.

    Args:
        canvas: uint8, (n, c, c, 3), the picture in the upper left corner.
        sizes: int64, (n, 2), height and width of the picture.
        side: of the result.
        draw: source of randomness, on the CPU.

    Returns:
        float32 0..255, (n, 3, side, side).
    """
    count, full = canvas.shape[0], canvas.shape[1]
    height, width = sizes.float().unbind(1)
    area = height * width * _uniform(count, MIN_AREA, 1.0, draw)
    stretch = torch.exp(_uniform(count, -math.log(ASPECT), math.log(ASPECT), draw))
    crop_width = torch.minimum((area * stretch).sqrt(), width)
    crop_height = torch.minimum((area / stretch).sqrt(), height)
    left = torch.rand(count, generator=draw) * (width - crop_width)
    top = torch.rand(count, generator=draw) * (height - crop_height)
    mirror = torch.where(torch.rand(count, generator=draw) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = mirror * crop_width / full
    theta[:, 0, 2] = (2 * left + crop_width) / full - 1
    theta[:, 1, 1] = crop_height / full
    theta[:, 1, 2] = (2 * top + crop_height) / full - 1
    pixels = canvas.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(theta, [count, 3, side, side], align_corners=False)
    grid = grid.to(pixels.device)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def random_colours(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Return the pictures with random brightness, contrast and saturation; a few are grey."""
    count = pixels.shape[0]

    def factor() -> Tensor:
        return _uniform(count, 1 - JITTER, 1 + JITTER, draw).view(-1, 1, 1, 1).to(pixels.device)

    saturation = factor()
    grey_ones = (torch.rand(count, generator=draw) < GREY_SHARE).view(-1, 1, 1, 1)
    saturation = torch.where(grey_ones.to(pixels.device), 0.0, saturation)
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + (pixels - grey) * saturation
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = (middle + (pixels - middle) * factor()) * factor()
    return pixels.clamp_(0, 255)


def random_sharpness(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Return the pictures blurred or sharpened, each by its own random factor; some unchanged.

    The sources differ in sharpness, and each label comes mostly from one of them: without this the
    model calls well scaled photos sport (measured: 13 of 45 full-size photos).
    """
    count = len(pixels)
    factor = _uniform(count, SOFTEST, SHARPEST, draw)
    factor[torch.rand(count, generator=draw) > SHARPNESS_SHARE] = 0.0
    padded = functional.pad(pixels, (1, 1, 1, 1), mode="reflect")
    detail = pixels - functional.avg_pool2d(padded, 3, stride=1)
    changed = pixels + detail * factor.view(-1, 1, 1, 1).to(pixels.device)
    return changed.clamp_(0, 255)


def _cosine_basis() -> Tensor:
    """Return the orthonormal 8 x 8 DCT-II that JPEG uses; rows are frequencies."""
    frequency = torch.arange(8.0).view(8, 1)
    basis = torch.cos((2 * torch.arange(8.0) + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def random_compression(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Return the pictures, a share of them quantised in 8 x 8 blocks as JPEG does.

    Higher frequencies are rounded more coarsely. Some sources were compressed at 64 px and others
    at a larger size, so that the model learned labels from block artefacts.
    """
    chosen = torch.nonzero(torch.rand(len(pixels), generator=draw) < COMPRESS_SHARE).flatten()
    if len(chosen) == 0:
        return pixels
    basis = _cosine_basis().to(pixels.device)
    strength = _uniform(len(chosen), 0.1, 1.0, draw).view(-1, 1, 1, 1, 1, 1).to(pixels.device)
    frequency = torch.arange(8.0, device=pixels.device)
    step = (10 + 8 * (frequency.view(8, 1) + frequency)).view(1, 1, 1, 8, 1, 8) * strength
    side = pixels.shape[-1]
    blocks = pixels[chosen].reshape(len(chosen), 3, side // 8, 8, side // 8, 8)
    waves = torch.einsum("ui,ncaibj,vj->ncaubv", basis, blocks, basis)
    rounded = (waves / step).round_() * step
    back = torch.einsum("ui,ncaubv,vj->ncaibj", basis, rounded, basis)
    pixels[chosen] = back.reshape(len(chosen), 3, side, side).clamp_(0, 255)
    return pixels


def enlarged(pixels: Tensor, side: int, draw: torch.Generator) -> Tensor:
    """Return the batch enlarged to the model's size, by one of two kernels at random."""
    mode = "bicubic" if float(torch.rand(1, generator=draw)) < 0.5 else "bilinear"
    return functional.interpolate(pixels, size=side, mode=mode).clamp_(0, 255)


def random_erasing(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Return the pictures, a share of them with a grey square of a quarter to half of the side."""
    side = pixels.shape[-1]
    chosen = torch.nonzero(torch.rand(len(pixels), generator=draw) < ERASE_SHARE).flatten()
    for place in chosen.tolist():
        edge = int(torch.randint(side // 4, side // 2, (1,), generator=draw))
        top, left = torch.randint(0, side - edge, (2,), generator=draw).tolist()
        pixels[place, :, top : top + edge, left : left + edge] = 116.0
    return pixels


def random_mix(pixels: Tensor, draw: torch.Generator) -> tuple[Tensor, Mix | None]:
    """Blend (mixup) or paste (CutMix) a permuted batch into this one, or leave it alone."""
    coin = float(torch.rand(1, generator=draw))
    if coin > MIX_SHARE:
        return pixels, None
    partner = torch.randperm(len(pixels), generator=draw).to(pixels.device)
    kept = float(_uniform(1, 0.5, 1.0, draw))
    if coin < MIX_SHARE / 2:
        return pixels * kept + pixels[partner] * (1 - kept), Mix(partner, kept)
    side = pixels.shape[-1]
    edge = int(side * math.sqrt(1 - kept))
    top, left = torch.randint(0, side - edge + 1, (2,), generator=draw).tolist()
    mixed = pixels.clone()
    box = (slice(None), slice(None), slice(top, top + edge), slice(left, left + edge))
    mixed[box] = pixels[partner][box]
    return mixed, Mix(partner, 1 - edge * edge / (side * side))


def random_views(
    canvas: Tensor, sizes: Tensor, side: int, draw: torch.Generator
) -> tuple[Tensor, Mix | None]:
    """Return augmented pictures, float32 0..255, (n, 3, side, side), and their mix.

    Compression is applied at the size at which the sources were compressed, so that blocks match.
    """
    pixels = random_colours(random_crops(canvas, sizes, DETAIL_SIDE, draw), draw)
    pixels = random_compression(random_sharpness(pixels, draw), draw)
    pixels = random_sharpness(enlarged(pixels, side, draw), draw)
    return random_mix(random_erasing(pixels, draw), draw)
