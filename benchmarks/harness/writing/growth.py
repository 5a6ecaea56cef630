"""How often a batch changes a best image, and so takes their lock, while an archive grows.

The rules alone (`core.relevance.combos`) on scores by chance: neither a server nor a clock, so the
figures are the same on any machine.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.harness.archives import SEED, Kind, make_scores
from benchmarks.harness.writing.photos import BATCH
from core.relevance.combos import accept, candidates, single_keys, subset_limit
from core.relevance.ranking import Rank, ScoredImage

STEP = 10**0.5  # from one line to the next
FIRST = 1_000
_NEWEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Grown:
    """One stretch of an archive's growth.

    Attributes:
        photos: at its end.
        rows: of the table of best images, at its end.
        locking: share of the stretch's batches that changed any, 0..1.
        changed: rows that a batch changed, on average.
    """

    photos: int
    rows: int
    locking: float
    changed: float


def grow(kind: Kind, within_s: float) -> Iterator[Grown]:
    """Yield stretches for about that long."""
    chance, limit = np.random.default_rng(SEED), subset_limit(kind.per_image, is_softmax=True)
    best: dict[bytes, Rank | None] = {}
    photos, mark, until = 0, float(FIRST), time.monotonic() + within_s
    changes: list[int] = []
    while time.monotonic() < until:
        images = _images(kind, photos, chance)
        singles = {key: best[key] for key in single_keys(images) if key in best}
        found = candidates(images, singles, max_size=limit).rows
        accepted = accept(found, {key: best[key] for key in found if key in best})
        best.update(accepted)
        photos += BATCH
        changes.append(len(accepted))
        if photos >= mark:
            share = sum(map(bool, changes)) / len(changes)
            yield Grown(photos, len(best), share, sum(changes) / len(changes))
            mark *= STEP
            changes = []


def _images(kind: Kind, first: int, chance: np.random.Generator) -> list[ScoredImage]:
    label_ids, scores = make_scores(kind, BATCH, chance)
    times = chance.integers(0, _NEWEST, BATCH)
    return [
        ScoredImage(
            first + at + 1,
            int(times[at]),
            tuple(zip(label_ids[at].tolist(), scores[at].tolist(), strict=True)),
        )
        for at in range(BATCH)
    ]
