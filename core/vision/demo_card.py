"""What the bundled model was measured on, read from the figures beside its card.

Imports nothing of the model's libraries, so that any process can tell.
"""

import json
from pathlib import Path

_METRICS = Path(__file__).parent / "demo_model" / "metrics.json"


def seen_labels() -> frozenset[str]:
    """Return the labels of which the bundled model has seen pictures.

    Of the default labels the others are those that it cannot know (`MODEL_CARD.md`).
    """
    metrics = json.loads(_METRICS.read_text(encoding="utf-8"))
    return frozenset(metrics["per_label"])


def least_scores() -> dict[str, float]:
    """Return the score from which the bundled model gives a label by `threshold`.

    It was fitted on pictures of these labels, and says nothing of any other.
    """
    metrics = json.loads(_METRICS.read_text(encoding="utf-8"))
    return dict.fromkeys(metrics["per_label"], float(metrics["least_score"]))


def is_demo(model: str) -> bool:
    """Return whether a setting or an identity (`name@weights`) means the bundled model."""
    return model.partition("@")[0] == "demo"
