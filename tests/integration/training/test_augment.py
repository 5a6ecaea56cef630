"""Random views."""

import torch

from training.augment import (
    DETAIL_SIDE,
    enlarged,
    random_colours,
    random_compression,
    random_crops,
    random_mix,
    random_sharpness,
    random_views,
)


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_crops_never_show_what_lies_beside_the_picture_on_its_canvas() -> None:
    canvas = torch.zeros(64, 96, 96, 3, dtype=torch.uint8)
    canvas[:, :72, :80] = 200
    sizes = torch.tensor([[72, 80]]).repeat(64, 1)

    crops = random_crops(canvas, sizes, 64, source(1))

    inner = crops[:, :, 1:-1, 1:-1]  # the rim may blend with the neighbour by half a pixel
    assert crops.shape == (64, 3, 64, 64)
    assert inner.min() >= 199.5


def test_crops_differ_and_half_of_them_are_mirrored() -> None:
    ramp = torch.arange(96, dtype=torch.uint8).view(1, 1, 96, 1).expand(200, 96, 96, 3)
    sizes = torch.full((200, 2), 96)

    crops = random_crops(ramp.contiguous(), sizes, 64, source(2))

    rising = (crops[:, 0, 32, -1] > crops[:, 0, 32, 0]).float().mean()
    assert 0.35 < rising < 0.65
    assert crops[:, 0, 32, 32].std() > 1


def test_colours_stay_in_range_and_keep_a_grey_picture_grey() -> None:
    grey = torch.rand(32, 1, 8, 8).repeat(1, 3, 1, 1) * 255

    changed = random_colours(grey.clone(), source(3))

    assert changed.min() >= 0
    assert changed.max() <= 255
    assert torch.allclose(changed[:, 0], changed[:, 2], atol=1e-3)


def gradients(pixels: torch.Tensor) -> torch.Tensor:
    """Mean step between neighbours of each picture."""
    return pixels.diff(dim=3).abs().mean((1, 2, 3))


def test_sharpness_goes_both_ways_and_leaves_even_areas_alone() -> None:
    soft = torch.nn.functional.interpolate(
        torch.rand(64, 3, 16, 16, generator=source(7)) * 200 + 20, size=64, mode="bilinear"
    )

    change = gradients(random_sharpness(soft.clone(), source(8))) - gradients(soft)

    assert (change > 0.01).any()
    assert (change < -0.01).any()
    even = torch.full((8, 3, 64, 64), 90.0)
    assert torch.allclose(random_sharpness(even.clone(), source(9)), even, atol=1e-3)


def test_compression_rounds_waves_of_some_pictures_and_stays_close_to_them() -> None:
    smooth = torch.nn.functional.interpolate(
        torch.rand(64, 3, 8, 8, generator=source(10)) * 255, size=64, mode="bilinear"
    )

    errors = (random_compression(smooth.clone(), source(11)) - smooth).abs().mean((1, 2, 3))

    touched = errors > 0
    assert 0.3 < touched.float().mean() < 0.7
    assert errors.max() < 10


def test_compression_of_an_even_picture_keeps_it_even() -> None:
    even = torch.full((16, 3, 64, 64), 100.0)

    compressed = random_compression(even.clone(), source(12))

    assert gradients(compressed).max() < 1e-2
    assert (compressed - even).abs().max() < 2


def test_a_mixed_batch_tells_truthfully_how_much_was_kept() -> None:
    own = torch.zeros(8, 3, 64, 64)
    own[4:] = 100.0
    seen = 0
    for seed in range(80):
        mixed, mix = random_mix(own, source(seed))
        if mix is None:
            assert torch.equal(mixed, own)
            continue
        seen += 1
        expected = own.mean((1, 2, 3)) * mix.kept
        expected += own[mix.partner].mean((1, 2, 3)) * (1 - mix.kept)
        assert torch.allclose(mixed.mean((1, 2, 3)), expected, atol=1e-2)
    assert seen > 10


def test_the_same_seed_gives_the_same_views() -> None:
    canvas = torch.randint(0, 255, (8, 96, 96, 3), dtype=torch.uint8, generator=source(4))
    sizes = torch.full((8, 2), 90)

    first, _ = random_views(canvas, sizes, 64, source(5))
    second, _ = random_views(canvas, sizes, 64, source(5))
    other, _ = random_views(canvas, sizes, 64, source(6))

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_what_is_enlarged_keeps_its_contents_and_gains_no_detail() -> None:
    pixels = torch.randint(0, 255, (4, 3, DETAIL_SIDE, DETAIL_SIDE), generator=source(7)).float()

    for seed in range(6):  # both kernels
        larger = enlarged(pixels, 96, source(seed))
        assert larger.shape == (4, 3, 96, 96)
        assert 0 <= float(larger.min()) <= float(larger.max()) <= 255
        assert torch.allclose(larger.mean((2, 3)), pixels.mean((2, 3)), atol=3)
        finest = (larger[..., 1:] - larger[..., :-1]).abs().mean()
        assert finest < (pixels[..., 1:] - pixels[..., :-1]).abs().mean()


def test_views_are_as_large_as_the_model_wants_whatever_their_detail() -> None:
    canvas = torch.randint(0, 255, (8, 96, 96, 3), dtype=torch.uint8, generator=source(8))

    views, _ = random_views(canvas, torch.full((8, 2), 64), 96, source(9))

    assert views.shape == (8, 3, 96, 96)
