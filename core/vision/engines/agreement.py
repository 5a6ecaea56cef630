"""The accuracy of a faster engine compared with fp32. Pure: numpy in, plain values out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The gate of every faster path (docs/research/clip.md, section 8): the best label may change in at
#: most one picture of a hundred, and no vector may move farther than when a photo is saved again.
MIN_COSINE = 0.999
MIN_SAME_BEST = 0.99
#: With fewer, one changed picture in a hundred could not be detected.
MIN_PICTURES = 100

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of an engine's vectors with those of fp32.

    Attributes:
        pictures: compared.
        least_cosine: of the worst picture; NaN where a vector holds no number.
        same_best: share of the pictures whose best label is the same, 0 to 1.
    """

    pictures: int
    least_cosine: float
    same_best: float

    @property
    def problem(self) -> str | None:
        """Return what stands against using the engine; None: nothing."""
        if self.pictures < MIN_PICTURES:
            return f"{self.pictures} pictures compared, at least {MIN_PICTURES} are needed"
        # `not at least` and not `below`: NaN must be a problem
        if not self.least_cosine >= MIN_COSINE:
            return f"least cosine {self.least_cosine:.5f} with fp32, must be {MIN_COSINE}"
        if not self.same_best >= MIN_SAME_BEST:
            return f"best label the same in {self.same_best:.1%}, must be {MIN_SAME_BEST:.0%}"
        return None


def compare(reference: Vectors, candidate: Vectors, texts: Vectors) -> Agreement:
    """Compare two engines' vectors of the same pictures.

    Args:
        reference: fp32's, (n, dim), unit length.
        candidate: the engine's, (n, dim); of any length, which the cosine takes out.
        texts: label vectors, (labels, dim), unit length.

    Raises:
        ValueError: the shapes differ: a vector was lost on the way.
    """
    if reference.shape != candidate.shape:
        raise ValueError(f"{candidate.shape} vectors for {reference.shape}")
    if not len(reference):
        return Agreement(0, float("nan"), 0.0)
    full, quick = reference.astype(np.float64), candidate.astype(np.float64)
    # one above zero, so that a vector of zeros has cosine 0 instead of raising a warning
    lengths = np.linalg.norm(full, axis=1) * np.linalg.norm(quick, axis=1)
    cosines = (full * quick).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    same = (full @ texts.T).argmax(axis=1) == (quick @ texts.T).argmax(axis=1)
    return Agreement(len(reference), float(cosines.min()), float(same.mean()))
