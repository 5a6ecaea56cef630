"""The texts that the text tower learns: prompts of the labels, background, wordings of names."""

from collections.abc import Sequence

import torch
from open_clip import SimpleTokenizer
from torch import Tensor

from core.relevance.defaults import DEFAULT_LABELS
from core.vision.clip import BACKGROUND_PROMPTS, DEFAULT_TEMPLATES

# The project's labels in their order, with the prompts of the run time: the model is trained and
# measured with the same prompts that it is used with.
LABELS = tuple(label.name for label in DEFAULT_LABELS)
WITHOUT_PICTURES = ("party", "children", "Victory Day", "veterans")
PICTURED = tuple(label for label in LABELS if label not in WITHOUT_PICTURES)
PROMPTS: dict[str, tuple[str, ...]] = {
    label.name: tuple(
        template.replace("{}", label.name) for template in label.templates or DEFAULT_TEMPLATES
    )
    for label in DEFAULT_LABELS
}
PER_LABEL = 3  # prompts; checked where they are encoded
BACKGROUND = BACKGROUND_PROMPTS

# One of these is drawn per name and step, so that the tower does not depend on one wording.
TEMPLATES = (
    *DEFAULT_TEMPLATES * 2,  # what the run time uses
    "an image of {}",
    "a photo of the {}",
    "{}",
)
PLURAL_SHARE = 4  # one wording in so many says "birds" where the name is "bird"


def plural(name: str) -> str:
    """Return the plural by English's common rules; not of names in capitals."""
    if name != name.lower() or name.endswith("s"):
        return name
    if name.endswith(("ch", "sh", "x", "z")):
        return f"{name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def wordings(name: str) -> tuple[str, ...]:
    """Return what a name may be worded as; always equally many."""
    plain = [template.format(name) for template in TEMPLATES]
    many = [f"a photo of {plural(name)}", f"a picture of {plural(name)}", plural(name)]
    return (*plain, *many)


class TextBank:
    """All texts of a training step: the prompts of the labels, the background, the names.

    The prompts of labels and background are those of the run time; each name is worded at random.
    """

    def __init__(self, names: Sequence[str], tokenizer: SimpleTokenizer) -> None:
        self._fixed = tokenizer(
            [*(text for label in LABELS for text in PROMPTS[label]), *BACKGROUND]
        )
        rows = [wordings(name) for name in names]
        self._tokens = tokenizer([text for row in rows for text in row]).view(
            len(rows), -1, self._fixed.shape[1]
        )

    def draw(self, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return tokens of the fixed texts and of some names, in a random wording each, and which.

        int64, (texts, context) and (count,).
        """
        names, choices, _ = self._tokens.shape
        chosen = torch.randperm(names, generator=draw)[:count]
        worded = torch.randint(choices, (len(chosen),), generator=draw)
        return torch.cat([self._fixed, self._tokens[chosen, worded]]), chosen
