"""Features of classes without pictures, rebuilt from the tower's own classifier.

Linear discriminant analysis backwards: a classifier's row is the inverse within-class covariance
times the class's mean, so the mean is the covariance times the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ConfigurationError

LEAST_PICTURES = 15  # of a class whose own mean may fit the factor
NOISE = 0.8  # of the within-class deviation; with all of it 5 % of the draws change class


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """Means of all classes of the classifier, and the deviation within a class.

    means: float32, (classes, width). root: float32, (width, width), of the covariance.
    factor: the fitted length of a row.
    """

    means: Tensor
    root: Tensor
    factor: float

    def draw(self, classes: Tensor, draw: torch.Generator) -> Tensor:
        """Return one feature for each of the given classes: float32, (n, width), none negative."""
        noise = torch.randn(len(classes), len(self.root), generator=draw) @ self.root
        return (self.means[classes] + NOISE * noise).clamp_(min=0)  # the tower ends in a ReLU6


def rebuild(
    rows: Tensor, features: Tensor, kinds: Tensor, classes: Sequence[int | None]
) -> Rebuilt:
    """Return the rebuilt classes.

    Args:
        rows: the classifier's, float32, (classes, width).
        features: of real pictures, float32, (n, width).
        kinds: of these pictures, int64, (n,).
        classes: per kind, the classifier's class that it equals, or None.
    """
    sums = torch.zeros(len(classes), features.shape[1]).index_add_(0, kinds, features)
    counts = torch.bincount(kinds, minlength=len(classes))
    own = sums / counts.clamp(min=1)[:, None]
    within = features - own[kinds]
    covariance = within.T @ within / len(features)
    seen = counts > 0
    centre = own[seen].mean(dim=0)
    directions = (rows - rows.mean(dim=0)) @ covariance
    factor = _factor(directions, own - centre, counts, classes)
    return Rebuilt(centre + factor * directions, _root(covariance), factor)


def _factor(
    directions: Tensor, own: Tensor, counts: Tensor, classes: Sequence[int | None]
) -> float:
    """Return the least-squares factor between directions and the means of classes with pictures."""
    pairs = [
        (kind, number)
        for kind, number in enumerate(classes)
        if number is not None and int(counts[kind]) >= LEAST_PICTURES
    ]
    if not pairs:
        message = f"too few pictures: no known class has {LEAST_PICTURES} of them"
        raise ConfigurationError(message)
    real = own[[kind for kind, _ in pairs]]
    rebuilt = directions[[number for _, number in pairs]]
    rebuilt = rebuilt - rebuilt.mean(dim=0)
    real = real - real.mean(dim=0)
    return float((real * rebuilt).sum() / rebuilt.square().sum())


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
