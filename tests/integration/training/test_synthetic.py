"""Classes rebuilt from a classifier."""

import torch

from training.words.synthetic import rebuild


def test_classes_without_pictures_are_rebuilt_where_the_classifier_has_them() -> None:
    draw = torch.Generator().manual_seed(4)
    width, classes, each = 24, 12, 40
    means = torch.rand(classes, width, generator=draw) * 4 + 4
    spread = torch.rand(width, generator=draw) + 0.2
    kinds = torch.arange(classes // 2).repeat_interleave(each)  # the other half has no picture
    noise = torch.randn(len(kinds), width, generator=draw) * spread
    rows = means / spread.square()  # linear discriminant analysis

    rebuilt = rebuild(rows, means[kinds] + noise, kinds, [*range(classes // 2)])

    nearest = torch.cdist(rebuilt.means / spread, means / spread).argmin(dim=1)
    assert (nearest == torch.arange(classes)).float().mean() >= 0.9
    drawn = rebuilt.draw(torch.tensor([8] * 50), draw)
    assert (drawn >= 0).all()
    assert drawn.std(dim=0).mean() > 0.1
