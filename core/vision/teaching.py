"""Labels that photos teach. Pure: numpy in, plain values out.

Photos lie nearer to each other than to any text: in CLIP the two sorts of vectors keep apart (Liang
et al. 2022, "Mind the gap"). A label whose vector is the plain mean of some photos is therefore the
best tag of nine photos in ten, whatever they show. So what all photos have in common is taken away,
and what is left is brought to the scale of the labels of words: over the photos of the archive the
cosines of the one have the mean and the spread that those of the others have. Then labels of both
kinds compete fairly in a softmax, and thresholds mean the same. The figures behind the numbers here
come from `benchmarks/taught.py` (docs/decisions/0040).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.tags import Lesson
from core.vision.scoring import Matrix, cosines, quantise, restore

#: The share of the photos where words count too. Half of each is best where the words mean
#: something to the model, and either is a good half of it where they don't.
SHARE_OF_PHOTOS = 0.5
#: Photos of the archive that tell what is ordinary.
GROUND = 2_000
#: With fewer a label waits: of ten, the worst labels of 25 won one photo in three of others.
LEAST_GROUND = 20
#: Labels of words that tell the scale: of thousands these, evenly, or it would take a minute.
MOST_TEXTS = 256
_NOTHING = 1e-6  # a length that rounding may leave of none


def teach(photos: Sequence[bytes], ground: Sequence[bytes], texts: Matrix) -> Lesson:
    """Return what these photos say of a label.

    Args:
        photos: embeddings of those that show it; of none, nothing is learnt.
        ground: embeddings of other photos of the archive.
        texts: float64, (labels, dim), unit length: labels of words.
    """
    lacking = max(0, LEAST_GROUND - len(ground))
    if not photos or lacking:
        return Lesson(len(photos), lacking)
    rows = restore(ground).astype(np.float64)
    ordinary = rows.mean(axis=0)
    direction = _unit(restore(photos).astype(np.float64).mean(axis=0) - ordinary)
    kept = quantise(direction.astype(np.float32))
    along = rows @ kept.astype(np.float64)
    of_texts = cosines(rows, texts[:: max(1, -(-len(texts) // MOST_TEXTS))])
    spread = float(along.std())
    gain = float(of_texts.std(axis=0).mean()) / spread if spread > _NOTHING else 0.0
    lift = float(of_texts.mean()) - gain * float(along.mean())
    return Lesson(len(photos), 0, kept.tobytes(), gain, lift)


def join(words: Matrix, lesson: Lesson | None, *, by_words: bool) -> tuple[Matrix, float]:
    """Return a label's vector, and what is added to a photo's product with it.

    The sum is NaN for a label that waits: no image is given it.

    Args:
        words: float64, (dim,), unit length: what its prompts say.
        lesson: what its photos say; None: nothing.
        by_words: whether its prompts count where photos teach it.
    """
    if lesson is None or lesson.direction is None:
        return words, 0.0 if by_words else np.nan
    share = SHARE_OF_PHOTOS if by_words else 1.0
    photos = lesson.gain * np.frombuffer(lesson.direction, "<f2").astype(np.float64)
    return (1 - share) * words + share * photos, share * lesson.lift


def _unit(vector: Matrix) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > _NOTHING else np.zeros_like(vector)
