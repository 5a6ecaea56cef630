"""The texts that the text tower learns: prompts per label, words and class captions."""

from dataclasses import dataclass

from core.relevance.defaults import DEFAULT_LABELS
from core.vision.clip import BACKGROUND_PROMPTS, DEFAULT_TEMPLATES

# The project's labels in their order, with the prompts of the run time: the model is trained and
# measured with the same prompts that it is used with.
LABELS = tuple(label.name for label in DEFAULT_LABELS)
WITHOUT_PICTURES = ("party", "children", "Victory Day", "veterans")
PROMPTS: dict[str, tuple[str, ...]] = {
    label.name: tuple(
        template.replace("{}", label.name) for template in label.templates or DEFAULT_TEMPLATES
    )
    for label in DEFAULT_LABELS
}
BACKGROUND = (*BACKGROUND_PROMPTS, "something", "a photo of something")

# One of these is drawn per text and step, so that the tower does not depend on one wording.
TEMPLATES = (
    "a photo of a {}",
    "a photo of {}",
    "an image of {}",
    "a picture of a {}",
    "a photo of the {}",
    "{}",
)

# Labels without pictures get a little probability from a related label's pictures, so that they
# rank behind that label and not at random. The data supports no more than that.
KIN: dict[str, dict[str, float]] = {
    "celebration": {"party": 0.06},
    "military": {"veterans": 0.04, "Victory Day": 0.03},
}
MAIN_SHARE = 0.6  # share of the first label in a picture with two


@dataclass(frozen=True, slots=True)
class LabelShare:
    """The share of a picture's probability that a label gets."""

    label: str
    share: float


def label_targets(labels: tuple[str, ...]) -> tuple[LabelShare, ...]:
    """Return shares over LABELS that sum to one; empty for a picture without labels."""
    if not labels:
        return ()
    rest = (1 - MAIN_SHARE) / max(1, len(labels) - 1)
    main = MAIN_SHARE if len(labels) > 1 else 1.0
    shares: dict[str, float] = {}
    for place, label in enumerate(labels):
        share = main if place == 0 else rest
        kin = KIN.get(label, {})
        shares[label] = shares.get(label, 0.0) + share * (1 - sum(kin.values()))
        for other, part in kin.items():
            shares[other] = shares.get(other, 0.0) + share * part
    return tuple(LabelShare(label, share) for label, share in shares.items())
